package iscsi

import (
	"crypto/md5"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"

	"sanstick/target/iscsi/internal/login"
	"sanstick/target/iscsi/internal/pdu"
	"sanstick/target/scsi"
)

func text(keys ...string) []byte { return []byte(strings.Join(keys, "\x00") + "\x00") }

// No challenge comes twice, however often the target is started.
func TestBug_CVE_2024_45751_ChallengesAfterRestart(t *testing.T) {
	seen := make(map[string]bool)
	for range 10000 {
		srv := NewServer(Options{})
		if err := srv.Add(Target{Name: "iqn.t:x", Initiators: []string{"*"}, CHAP: &Credentials{"user", "a secret of many"}}); err != nil {
			t.Fatal(err)
		}
		l := login.New(srv.loginConfig(1))
		l.Step(&pdu.LoginRequest{}, text("InitiatorName=iqn.t:i", "TargetName=iqn.t:x", "AuthMethod=CHAP"))
		_, got := l.Step(&pdu.LoginRequest{}, text("CHAP_A=5"))
		_, c, ok := strings.Cut(string(got), "CHAP_C=0x")
		c = strings.TrimSuffix(c, "\x00")
		if !ok || len(c) != 32 || seen[c] {
			t.Fatalf("after %d starts: %q", len(seen), got)
		}
		seen[c] = true
		l.Close()
	}
}

// Who may log in, and who is told of a target, is the list AND the group AND
// the secret: all of them, for every combination.
func TestBug_tgt_b73c64d_AccessTable(t *testing.T) {
	const alice, bob, carol = "iqn.t:alice", "iqn.t:bob", "iqn.t:carol"
	lists := [][]string{nil, {alice}, {bob}, {alice, bob}, {"*"}, {"*", alice}}
	groups := [][]uint16{nil, {1}, {2}, {1, 2}}
	secret := "a secret of many"
	srv := NewServer(Options{})
	n := 0
	for _, list := range lists {
		for _, in := range groups {
			for _, chap := range []*Credentials{nil, {"user", secret}} {
				n++
				target := Target{Name: "iqn.t:target", Device: scsi.NewDevice("x"), Initiators: list, Groups: in, CHAP: chap}
				if err := srv.Add(target); err != nil {
					t.Fatal(err)
				}
				for _, who := range []string{alice, bob, carol} {
					for _, group := range []uint16{1, 2, 3} {
						listed := false
						for _, l := range list {
							listed = listed || l == "*" || l == who
						}
						reached := len(in) == 0
						for _, g := range in {
							reached = reached || g == group
						}
						for proof, proven := range map[string]bool{"": false, "not the secret": false, secret: true} {
							want := listed && reached && (chap == nil || proven)
							if got := try(srv, group, who, proof); got != want {
								t.Errorf("list %v, groups %v, CHAP %v; %s by group %d with secret %q: %v", list, in, chap != nil, who, group, proof, got)
							}
						}
						told := len(directory{srv, group}.Allowed(who)) == 1
						if told != (listed && reached) {
							t.Errorf("list %v, groups %v: %s by group %d is told: %v", list, in, who, group, told)
						}
					}
				}
				if err := srv.Remove(target.Name); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if n != 48 {
		t.Errorf("%d targets", n)
	}
}

// try logs in as far as it goes, by CHAP if a secret is given and asked for.
func try(srv *Server, group uint16, who, secret string) bool {
	l := login.New(srv.loginConfig(group))
	defer l.Close()
	step := func(keys ...string) (pdu.LoginResponse, string) {
		r, out := l.Step(&pdu.LoginRequest{Transit: true, CSG: 0, NSG: 3}, text(keys...))
		return r, string(out)
	}
	names := []string{"InitiatorName=" + who, "TargetName=iqn.t:target"}
	if secret == "" {
		r, _ := step(names...)
		return r.Status == 0 && r.Transit
	}
	r, out := step(append(names, "AuthMethod=CHAP,None")...)
	if r.Status != 0 || r.Transit || !strings.Contains(out, "AuthMethod=CHAP") {
		return r.Status == 0 && r.Transit
	}
	_, out = step("CHAP_A=5")
	r, _ = step("CHAP_N=user", "CHAP_R="+respond(out, secret))
	return r.Status == 0 && r.Transit
}

// respond answers a challenge.
func respond(answer, secret string) string {
	value := func(key string) string {
		_, v, _ := strings.Cut(answer, key+"=")
		v, _, _ = strings.Cut(v, "\x00")
		return v
	}
	id, _ := strconv.Atoi(value("CHAP_I"))
	challenge, _ := hex.DecodeString(strings.TrimPrefix(value("CHAP_C"), "0x"))
	sum := md5.Sum(append(append([]byte{byte(id)}, secret...), challenge...))
	return "0x" + hex.EncodeToString(sum[:])
}
