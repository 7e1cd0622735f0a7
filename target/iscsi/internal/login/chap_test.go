package login

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// chapClient plays an initiator up to the challenge.
func chapClient(t *testing.T, l *Login, alg string) (id byte, challenge []byte, a int) {
	t.Helper()
	r := req(0, 1)
	if resp, _ := l.Step(&r, join(names("iqn.t:locked", "AuthMethod=CHAP,None")...)); resp.Status != 0 {
		t.Fatal(Status(resp.Status))
	}
	r = req(0, 0)
	resp, text := l.Step(&r, join("CHAP_A="+alg))
	if resp.Status != 0 || resp.Transit {
		t.Fatalf("%+v", resp)
	}
	var i int
	var c string
	for _, kv := range split(t, text) {
		k, v, _ := strings.Cut(kv, "=")
		switch k {
		case "CHAP_A":
			fmt.Sscan(v, &a)
		case "CHAP_I":
			fmt.Sscan(v, &i)
		case "CHAP_C":
			c = v
		}
	}
	challenge, err := hex.DecodeString(strings.TrimPrefix(c, "0x"))
	if err != nil || len(challenge) < 16 {
		t.Fatalf("challenge %q: %v", c, err)
	}
	return byte(i), challenge, a
}

func TestCHAP(t *testing.T) {
	toHex := func(b []byte) string { return "0x" + hex.EncodeToString(b) }
	toBase64 := func(b []byte) string { return "0b" + base64.StdEncoding.EncodeToString(b) }
	for _, alg := range []string{"5", "6", "7", "8", "7,5", "9,6"} {
		for name, enc := range map[string]func([]byte) string{"hex": toHex, "base64": toBase64} {
			tests := []struct {
				name, user, secret string
				want               Status
			}{
				{"right", "0xalice", "secret-of-alice", Success},
				{"wrong secret", "0xalice", "secret-of-alicf", AuthFailed},
				{"empty secret", "0xalice", "", AuthFailed},
				{"other user", "alice", "secret-of-alice", AuthFailed},
				{"user as number", "0XALICE", "secret-of-alice", AuthFailed},
				{"no user", "", "secret-of-alice", AuthFailed},
			}
			for _, tt := range tests {
				l := newLogin(directory{})
				id, challenge, a := chapClient(t, l, alg)
				r := req(0, 1)
				resp, _ := l.Step(&r, join("CHAP_N="+tt.user, "CHAP_R="+enc(respond(algorithms[a], id, tt.secret, challenge))))
				if Status(resp.Status) != tt.want || resp.Transit != (tt.want == Success) {
					t.Errorf("%s, CHAP_A=%s, %s: %+v, want %v", tt.name, alg, name, resp, tt.want)
				}
				if l.Params().Authenticated != (tt.want == Success) {
					t.Errorf("%s: Authenticated = %v", tt.name, l.Params().Authenticated)
				}
				r = req(1, 3)
				resp, _ = l.Step(&r, nil)
				if (resp.Status == 0) != (tt.want == Success) {
					t.Errorf("%s: going on gave %+v", tt.name, resp)
				}
				l.Close()
			}
		}
	}
}

func TestCHAPResponses(t *testing.T) {
	for _, r := range []string{"", "0", "0x", "0x0", "0xzz", "0b", "0b!!", "1234", "0x" + strings.Repeat("00", 17), "0x" + strings.Repeat("0", 2000),
		"0b" + strings.Repeat("A", 1024), "0o17"} {
		l := newLogin(directory{})
		chapClient(t, l, "5")
		q := req(0, 1)
		if resp, _ := l.Step(&q, join("CHAP_N=0xalice", "CHAP_R="+r)); Status(resp.Status) != AuthFailed {
			t.Errorf("CHAP_R=%.20s: %+v", r, resp)
		}
		l.Close()
	}
}

func TestMutualCHAP(t *testing.T) {
	theirs := []byte("a challenge of the initiator's")
	good := func(id byte, c []byte) []string {
		return []string{"CHAP_N=0xalice", "CHAP_R=0x" + hex.EncodeToString(respond(algorithms[7], id, "secret-of-alice", c))}
	}
	tests := []struct {
		name   string
		mutual bool
		more   func(ours []byte) []string
		want   Status
	}{
		{"right", true, func([]byte) []string { return []string{"CHAP_I=9", "CHAP_C=0x" + hex.EncodeToString(theirs)} }, Success},
		{"not configured", false, func([]byte) []string { return []string{"CHAP_I=9", "CHAP_C=0x" + hex.EncodeToString(theirs)} }, AuthFailed},
		{"not asked for", true, func([]byte) []string { return nil }, Success},
		{"our own challenge", true, func(c []byte) []string { return []string{"CHAP_I=9", "CHAP_C=0x" + hex.EncodeToString(c)} }, AuthFailed},
		{"our own in base64", true, func(c []byte) []string {
			return []string{"CHAP_I=9", "CHAP_C=0b" + base64.StdEncoding.EncodeToString(c)}
		}, AuthFailed},
		{"empty challenge", true, func([]byte) []string { return []string{"CHAP_I=9", "CHAP_C=0x"} }, AuthFailed},
		{"too long", true, func([]byte) []string { return []string{"CHAP_I=9", "CHAP_C=0x" + strings.Repeat("00", 1025)} }, AuthFailed},
		{"identifier too large", true, func([]byte) []string { return []string{"CHAP_I=256", "CHAP_C=0x00"} }, AuthFailed},
		{"no identifier", true, func([]byte) []string { return []string{"CHAP_C=0x00"} }, InitiatorError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLogin(directory{mutual: tt.mutual})
			defer l.Close()
			id, c, _ := chapClient(t, l, "7")
			r := req(0, 1)
			resp, text := l.Step(&r, join(append(good(id, c), tt.more(c)...)...))
			// A value of 2052 characters is within what CHAP may say, but a
			// request over the text codec's limit is refused before that.
			if got := Status(resp.Status); got != tt.want && !(tt.name == "too long" && got == InitiatorError) {
				t.Fatalf("got %v, want %v", got, tt.want)
			}
			if tt.name == "right" {
				want := "CHAP_R=0x" + hex.EncodeToString(respond(algorithms[7], 9, "secret-of-target", theirs))
				got := split(t, text)
				if len(got) != 2 || got[0] != "CHAP_N=the-target" || got[1] != want {
					t.Errorf("got %q, want CHAP_N and %q", got, want)
				}
			}
		})
	}
}

// A challenge that another connection of the same server is waiting on must
// not be answered either.
func TestReflectionAcrossConnections(t *testing.T) {
	cfg := newLogin(directory{mutual: true}).cfg
	one, two := New(cfg), New(cfg)
	defer two.Close()
	id, c, _ := chapClient(t, one, "7")
	_, foreign, _ := chapClient(t, two, "7")
	r := req(0, 1)
	resp, _ := one.Step(&r, join("CHAP_N=0xalice", "CHAP_R=0x"+hex.EncodeToString(respond(algorithms[7], id, "secret-of-alice", c)),
		"CHAP_I=1", "CHAP_C=0x"+hex.EncodeToString(foreign)))
	if Status(resp.Status) != AuthFailed {
		t.Errorf("got %+v, want AuthFailed", resp)
	}
	one.Close()
	if cfg.Challenges.isOurs(c) || !cfg.Challenges.isOurs(foreign) {
		t.Error("Close must forget this login's challenge and no other")
	}
}

func TestChallengesAreFresh(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		l := newLogin(directory{})
		_, c, _ := chapClient(t, l, "5")
		if seen[string(c)] {
			t.Fatal("a challenge came twice")
		}
		seen[string(c)] = true
		l.Close()
	}
}

func TestDiscoveryCHAP(t *testing.T) {
	l := newLogin(directory{})
	defer l.Close()
	r := req(0, 1)
	resp, _ := l.Step(&r, join("InitiatorName="+alice, "SessionType=Discovery", "AuthMethod=CHAP"))
	if resp.Status != 0 {
		t.Fatal(Status(resp.Status))
	}
	r = req(0, 0)
	_, text := l.Step(&r, join("CHAP_A=5"))
	var c []byte
	var id int
	for _, kv := range split(t, text) {
		if v, ok := strings.CutPrefix(kv, "CHAP_C=0x"); ok {
			c, _ = hex.DecodeString(v)
		}
		fmt.Sscanf(kv, "CHAP_I=%d", &id)
	}
	r = req(0, 3)
	resp, _ = l.Step(&r, join("CHAP_N=0xalice", "CHAP_R=0x"+hex.EncodeToString(respond(algorithms[5], byte(id), "secret-of-alice", c))))
	if resp.Status != 0 || !resp.Transit || !l.Params().Authenticated {
		t.Errorf("got %+v", resp)
	}
}

func FuzzDecodeBinary(f *testing.F) {
	f.Add("0x00ff", 16)
	f.Add("0bAAAA", 3)
	f.Fuzz(func(t *testing.T, s string, limit int) {
		limit &= 2047
		if b, ok := decodeBinary(s, limit); ok && len(b) > limit {
			t.Errorf("%d bytes, limit %d", len(b), limit)
		}
	})
}

// FuzzCHAP answers the challenge with anything. Nobody knows the secret here.
func FuzzCHAP(f *testing.F) {
	f.Add("5", "0xalice", "0x00112233445566778899aabbccddeeff", "1", "0x0011")
	f.Add("8,7,6,5", "0xalice", "0bAAAA", "0xff", "0bAAAA")
	f.Add("7", "", "0x", "256", "0x")
	f.Fuzz(func(t *testing.T, algs, user, response, id, challenge string) {
		l := newLogin(directory{mutual: true})
		defer l.Close()
		first, second := req(0, 0), req(0, 1)
		if r, _ := l.Step(&first, join(names("iqn.t:locked", "AuthMethod=CHAP")...)); r.Status != 0 {
			t.Fatalf("%+v", r)
		}
		for _, keys := range [][]string{{"CHAP_A=" + algs}, {"CHAP_N=" + user, "CHAP_R=" + response, "CHAP_I=" + id, "CHAP_C=" + challenge}} {
			r, text := l.Step(&second, join(keys...))
			if len(text) > MaxData {
				t.Fatalf("answer of %d bytes", len(text))
			}
			if r.Transit || l.Params().Authenticated {
				t.Fatal("authenticated without the secret")
			}
		}
	})
}
