package unh_test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"sanstick/target/iscsitest"
)

// chapNumbers are the tests of CHAP.
const chapNumbers = `1.1 1.2.1 1.2.2 1.3 1.4 2.1 2.2 2.3 2.4 2.5 2.6 3.1 3.2 3.3 3.4 3.5 3.6 3.7 3.8 3.9
	4.1 4.2 4.3 4.4 4.5 4.6 4.7 5.1 5.2 5.3 5.4 5.5 5.6 6.1 6.2 6.3 6.4 6.5`

// TestUNHCHAP is the CHAP list.
func TestUNHCHAP(t *testing.T) { runList(t, chaps, chapNumbers) }

const authFailed = 0x0201

// challenge is what a target wants answered.
type challenge struct {
	algorithm int
	id        byte
	value     []byte
}

// challenged begins a login up to the target's challenge.
func (b *bench) challenged(c *iscsitest.Conn, target, algorithms string) challenge {
	b.Helper()
	if _, got := b.step(c, security, 0, iscsitest.Names(alice, target, "AuthMethod=CHAP,None")...); got["AuthMethod"] != "CHAP" {
		b.Fatalf("the target doesn't ask for CHAP: %v", got)
	}
	_, got := b.step(c, security, 0, "CHAP_A="+algorithms)
	var ch challenge
	id, err := strconv.ParseUint(got["CHAP_I"], 10, 8)
	if err != nil {
		b.Fatalf("CHAP_I: %v", err)
	}
	ch.id = byte(id)
	if ch.algorithm, err = strconv.Atoi(got["CHAP_A"]); err != nil {
		b.Fatalf("CHAP_A: %v", err)
	}
	if ch.value, err = hex.DecodeString(strings.TrimPrefix(got["CHAP_C"], "0x")); err != nil || len(ch.value) < 16 {
		b.Fatalf("CHAP_C=%s: %v", got["CHAP_C"], err)
	}
	return ch
}

func toHex(p []byte) string    { return "0x" + hex.EncodeToString(p) }
func toBase64(p []byte) string { return "0b" + base64.StdEncoding.EncodeToString(p) }

// answer is the right answer, with more keys.
func (ch challenge) answer(more ...string) []string {
	return append([]string{"CHAP_N=" + user, "CHAP_R=" + toHex(ch.response())}, more...)
}

func (ch challenge) response() []byte {
	return iscsitest.CHAPResponse(ch.algorithm, ch.id, userSecret, ch.value)
}

// enter ends a login that was authenticated.
func (b *bench) enter(c *iscsitest.Conn) {
	b.Helper()
	b.step(c, operational, fullFeature)
	b.settle(c)
}

// proves checks how the target answers our challenge.
func (b *bench) proves(algorithm int, id byte, ours []byte, got map[string]string) {
	b.Helper()
	if want := toHex(iscsitest.CHAPResponse(algorithm, id, targetSecret, ours)); got["CHAP_N"] != targetUser || got["CHAP_R"] != want {
		b.Errorf("the target proves itself by %v, want CHAP_R=%s", got, want)
	}
}

// mutual logs in to the mutual target with our id and challenge as written. It
// returns the target's answer.
func (b *bench) mutual(id, value string) (map[string]string, challenge, *iscsitest.Conn, error) {
	b.Helper()
	c := b.dial()
	ch := b.challenged(c, *mutualName, "7")
	_, got, err := c.LoginStep(security, operational, ch.answer("CHAP_I="+id, "CHAP_C="+value)...)
	return got, ch, c, err
}

// mutualRefused is for ids and challenges that are not to be answered.
func (b *bench) mutualRefused(id, value string) {
	b.Helper()
	_, _, c, err := b.mutual(id, value)
	b.refusedLogin(c, err, authFailed, 0x0200)
}

// chapRefused sends keys in place of the right answer.
func (b *bench) chapRefused(keys func(ch challenge) []string) {
	b.Helper()
	c := b.dial()
	ch := b.challenged(c, *chapName, "7")
	b.refused(c, security, operational, keys(ch), authFailed, 0x0200)
}

var ours = []byte("a challenge of the initiator's own")

var chaps = []test{
	{"1.1", "CHAP_A: every algorithm", func(b *bench) {
		for _, a := range []string{"5", "6", "7", "8"} {
			c := b.dial()
			ch := b.challenged(c, *chapName, a)
			if strconv.Itoa(ch.algorithm) != a {
				b.Errorf("CHAP_A=%s is answered with %d", a, ch.algorithm)
			}
			b.step(c, security, operational, ch.answer()...)
			b.enter(c)
			b.alive(c)
		}
	}},
	{"1.2.1", "CHAP_A: numbers that mean nothing", func(b *bench) {
		for _, a := range []string{"0", "4", "9", "255", "99999999999999999999", "-5"} {
			c := b.dial()
			b.step(c, security, 0, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP")...)
			b.refused(c, security, 0, []string{"CHAP_A=" + a}, authFailed, 0x0200)
		}
	}},
	{"1.2.2", "CHAP_A: no number", func(b *bench) {
		for _, a := range []string{"", "MD5", "Reject", "5x", ","} {
			c := b.dial()
			b.step(c, security, 0, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP")...)
			b.refused(c, security, 0, []string{"CHAP_A=" + a}, authFailed, 0x0200)
		}
	}},
	{"1.3", "CHAP_A out of order", func(b *bench) {
		b.refused(b.dial(), security, 0, iscsitest.Names(alice, *chapName, "CHAP_A=7"), authFailed, 0x0200)
		c := b.dial()
		b.challenged(c, *chapName, "7")
		b.refused(c, security, 0, []string{"CHAP_A=5"}, authFailed, 0x0200)
	}},
	{"1.4", "CHAP_A: the first of a list that is known", func(b *bench) {
		for list, want := range map[string]int{"9,6,5": 6, "5,7": 5, "8,7,6,5": 8} {
			c := b.dial()
			if ch := b.challenged(c, *chapName, list); ch.algorithm != want {
				b.Errorf("%s: %d", list, ch.algorithm)
			}
		}
	}},
	{"2.1", "CHAP_I: any identifier of the initiator", func(b *bench) {
		for _, id := range []byte{0, 1, 127, 255} {
			got, _, c, err := b.mutual(fmt.Sprint(id), toHex(ours))
			if err != nil {
				b.Fatal(err)
			}
			b.proves(7, id, ours, got)
			b.enter(c)
		}
	}},
	{"2.2", "CHAP_I: values that are no identifier", func(b *bench) {
		for _, id := range []string{"256", "-1", "", "x", "0x100", "1 ", "65536"} {
			b.mutualRefused(id, toHex(ours))
		}
	}},
	{"2.3", "CHAP_I out of order", func(b *bench) {
		b.refused(b.dial(), security, 0, iscsitest.Names(alice, *mutualName, "AuthMethod=CHAP", "CHAP_I=1", "CHAP_C="+toHex(ours)), authFailed, 0x0200)
		c := b.dial() // with CHAP_A
		b.step(c, security, 0, iscsitest.Names(alice, *mutualName, "AuthMethod=CHAP")...)
		b.refused(c, security, 0, []string{"CHAP_A=7", "CHAP_I=1", "CHAP_C=" + toHex(ours)}, authFailed, 0x0200)
	}},
	{"2.4", "CHAP_I of the target isn't always the same", func(b *bench) {
		seen := map[byte]bool{}
		for range 40 {
			c := b.dial()
			seen[b.challenged(c, *chapName, "7").id] = true
			c.Close()
		}
		if len(seen) < 2 {
			b.Errorf("identifiers %v of 40 logins", seen)
		}
	}},
	{"2.5", "CHAP_I reflected, with a challenge of one's own", func(b *bench) {
		c := b.dial()
		ch := b.challenged(c, *mutualName, "7")
		_, got := b.step(c, security, operational, ch.answer(fmt.Sprint("CHAP_I=", ch.id), "CHAP_C="+toHex(ours))...)
		b.proves(7, ch.id, ours, got)
	}},
	{"2.6", "CHAP_I without CHAP_C, and the other way round", func(b *bench) {
		for _, half := range []string{"CHAP_I=1", "CHAP_C=" + toHex(ours)} {
			c := b.dial()
			ch := b.challenged(c, *mutualName, "7")
			b.refused(c, security, operational, ch.answer(half), authFailed, 0x0200)
		}
	}},
	{"3.1", "CHAP_C of 1024 bytes", func(b *bench) {
		big := noise(100, 1024)
		for _, value := range []string{toHex(big), toBase64(big), strings.ToUpper(toHex(big))} {
			if value[1] == 'X' {
				value = "0x" + value[2:]
			}
			got, _, c, err := b.mutual("7", value)
			if err != nil {
				b.Fatal(err)
			}
			b.proves(7, 7, big, got)
			b.enter(c)
		}
	}},
	{"3.2", "CHAP_C of one byte", func(b *bench) {
		got, _, _, err := b.mutual("7", "0xa5")
		if err != nil {
			b.Fatal(err)
		}
		b.proves(7, 7, []byte{0xa5}, got)
	}},
	{"3.3", "CHAP_C of more than 1024 bytes", func(b *bench) {
		b.mutualRefused("7", toHex(noise(101, 1025)))
		b.mutualRefused("7", toBase64(noise(101, 1400)))
	}},
	{"3.4", "CHAP_C of no bytes, or no binary value", func(b *bench) {
		for _, value := range []string{"", "0x", "0b", "abc", "0xabc", "0xzz", "0b!", "12"} {
			b.mutualRefused("7", value)
		}
	}},
	{"3.5", "CHAP_C out of order", func(b *bench) {
		c := b.dial()
		b.step(c, security, 0, iscsitest.Names(alice, *mutualName, "AuthMethod=CHAP")...)
		b.refused(c, security, 0, []string{"CHAP_C=" + toHex(ours)}, authFailed, 0x0200)
	}},
	{"3.6", "CHAP_C of the target is never the same", func(b *bench) {
		seen := map[string]bool{}
		for range 200 {
			c := b.dial()
			seen[string(b.challenged(c, *chapName, "7").value)] = true
			c.Close()
		}
		if len(seen) != 200 {
			b.Errorf("%d challenges in 200 logins", len(seen))
		}
	}},
	{"3.7", "CHAP_C reflected", func(b *bench) {
		for _, encode := range []func([]byte) string{toHex, toBase64} {
			c := b.dial()
			ch := b.challenged(c, *mutualName, "7")
			b.refused(c, security, operational, ch.answer("CHAP_I=1", "CHAP_C="+encode(ch.value)), authFailed)
		}
	}},
	{"3.8", "CHAP_C reflected on a second connection", func(b *bench) {
		first, second := b.dial(), b.dial()
		foreign := b.challenged(first, *mutualName, "7")
		ch := b.challenged(second, *mutualName, "7")
		b.refused(second, security, operational, ch.answer("CHAP_I=1", "CHAP_C="+toHex(foreign.value)), authFailed)
		// The first one goes on.
		b.step(first, security, operational, foreign.answer()...)
		b.enter(first)
	}},
	{"3.9", "CHAP_C new on a second connection", func(b *bench) {
		_, one, _, err := b.mutual("1", toHex(ours))
		if err != nil {
			b.Fatal(err)
		}
		got, two, _, err := b.mutual("2", toHex(noise(102, 20)))
		if err != nil {
			b.Fatal(err)
		}
		b.proves(7, 2, noise(102, 20), got)
		if string(one.value) == string(two.value) {
			b.Error("the same challenge twice")
		}
	}},
	{"4.1", "CHAP_N: the right name", func(b *bench) {
		c := b.dial()
		b.step(c, security, operational, b.challenged(c, *chapName, "5").answer()...)
		b.enter(c)
	}},
	{"4.2", "CHAP_N of 255 characters", func(b *bench) {
		b.chapRefused(func(ch challenge) []string {
			return []string{"CHAP_N=" + strings.Repeat("n", 255), "CHAP_R=" + toHex(ch.response())}
		})
	}},
	{"4.3", "CHAP_N of one character, and of none", func(b *bench) {
		for _, n := range []string{"a", ""} {
			b.chapRefused(func(ch challenge) []string { return []string{"CHAP_N=" + n, "CHAP_R=" + toHex(ch.response())} })
		}
	}},
	{"4.4", "CHAP_N that is too long", func(b *bench) {
		for _, n := range []int{256, 2000, 8000} {
			b.chapRefused(func(ch challenge) []string {
				return []string{"CHAP_N=" + strings.Repeat("n", n), "CHAP_R=" + toHex(ch.response())}
			})
		}
	}},
	{"4.5", "CHAP_N out of order", func(b *bench) {
		c := b.dial()
		b.step(c, security, 0, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP")...)
		b.refused(c, security, 0, []string{"CHAP_N=" + user}, authFailed, 0x0200)
		b.chapRefused(func(challenge) []string { return []string{"CHAP_N=" + user} })
	}},
	{"4.6", "CHAP_N: the target's own name and secret", func(b *bench) {
		c := b.dial()
		ch := b.challenged(c, *mutualName, "7")
		r := iscsitest.CHAPResponse(7, ch.id, targetSecret, ch.value)
		b.refused(c, security, operational, []string{"CHAP_N=" + targetUser, "CHAP_R=" + toHex(r)}, authFailed)
	}},
	{"4.7", "CHAP_N: another name with the right response", func(b *bench) {
		for _, n := range []string{"bob", "Alice", "0x616c696365", alice} {
			b.chapRefused(func(ch challenge) []string { return []string{"CHAP_N=" + n, "CHAP_R=" + toHex(ch.response())} })
		}
	}},
	{"5.1", "CHAP_R that is wrong", func(b *bench) {
		for i := range 3 {
			b.chapRefused(func(ch challenge) []string {
				r := ch.response()
				r[[]int{0, 15, 31}[i]] ^= 1
				return []string{"CHAP_N=" + user, "CHAP_R=" + toHex(r)}
			})
		}
	}},
	{"5.2", "CHAP_R that is too long", func(b *bench) {
		for _, n := range []int{1, 32, 900, 3000} {
			b.chapRefused(func(ch challenge) []string {
				return []string{"CHAP_N=" + user, "CHAP_R=" + toHex(append(ch.response(), make([]byte, n)...))}
			})
		}
	}},
	{"5.3", "CHAP_R that is too short", func(b *bench) {
		for _, n := range []int{0, 1, 16, 31} {
			b.chapRefused(func(ch challenge) []string { return []string{"CHAP_N=" + user, "CHAP_R=" + toHex(ch.response()[:n])} })
		}
	}},
	{"5.4", "CHAP_R out of order", func(b *bench) {
		c := b.dial()
		b.refused(c, security, 0, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP", "CHAP_R=0x00"), authFailed, 0x0200)
		b.chapRefused(func(ch challenge) []string { return []string{"CHAP_R=" + toHex(ch.response())} })
	}},
	{"5.5", "CHAP_R in base64", func(b *bench) {
		for _, a := range []string{"5", "6", "7", "8"} {
			c := b.dial()
			ch := b.challenged(c, *chapName, a)
			b.step(c, security, operational, "CHAP_N="+user, "CHAP_R="+toBase64(ch.response()))
			b.enter(c)
		}
	}},
	{"5.6", "CHAP_R of an earlier login", func(b *bench) {
		c := b.dial()
		old := b.challenged(c, *chapName, "7")
		b.step(c, security, operational, old.answer()...)
		b.enter(c)
		b.chapRefused(func(challenge) []string { return old.answer() })
	}},
	{"6.1", "transit before the end of authentication", func(b *bench) {
		c := b.dial()
		p, _ := b.step(c, security, fullFeature, iscsitest.Names(alice, *chapName, "AuthMethod=CHAP")...)
		q, _ := b.step(c, security, fullFeature, "CHAP_A=7")
		if p.BHS[1]&0x80 != 0 || q.BHS[1]&0x80 != 0 {
			b.Errorf("T bit in %v or %v", &p, &q)
		}
		b.refused(c, security, fullFeature, nil, authFailed, 0x0200)
	}},
	{"6.2", "AuthMethod=None, or none at all", func(b *bench) {
		b.refused(b.dial(), security, operational, iscsitest.Names(alice, *chapName, "AuthMethod=None"), authFailed)
		b.refused(b.dial(), security, operational, iscsitest.Names(alice, *chapName), authFailed)
	}},
	{"6.3", "around the security stage", func(b *bench) {
		b.refused(b.dial(), operational, fullFeature, iscsitest.Names(alice, *chapName), authFailed)
		c := b.dial()
		b.challenged(c, *chapName, "7")
		b.refused(c, operational, fullFeature, nil, authFailed, 0x0200)
	}},
	{"6.4", "who isn't authenticated ends no session", func(b *bench) {
		c := b.dial()
		b.step(c, security, operational, b.challenged(c, *chapName, "7").answer()...)
		b.enter(c)
		for _, tsih := range []uint16{0, c.TSIH} {
			d := b.dial()
			d.ISID, d.TSIH = c.ISID, tsih
			ch := b.challenged(d, *chapName, "7")
			b.refused(d, security, fullFeature, []string{"CHAP_N=" + user, "CHAP_R=" + toHex(make([]byte, len(ch.response())))}, authFailed)
			b.alive(c)
		}
	}},
	{"6.5", "a target that isn't to prove itself doesn't", func(b *bench) {
		c := b.dial()
		ch := b.challenged(c, *chapName, "7")
		_, got, err := c.LoginStep(security, operational, ch.answer("CHAP_I=1", "CHAP_C="+toHex(ours))...)
		if got["CHAP_R"] != "" {
			b.Errorf("got %v", got)
		}
		b.refusedLogin(c, err, authFailed, 0x0200)
	}},
}
