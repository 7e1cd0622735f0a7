package target_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sanstick/target"
	"sanstick/target/iscsitest"
)

// An initiator that may not log in any more loses its session; everybody else
// keeps theirs, new credentials or not.
func TestAccessChanges(t *testing.T) {
	l := newLive(t)
	c := target.Config{IQN: openIQN, Initiators: []string{alice, bob}, LUNs: []target.LUN{{Number: 0, Unit: newUnit(t, newMem(t), "A")}}}
	l.must(l.Add(c))
	a, b := l.session(alice, openIQN, 0), l.session(bob, openIQN, 0)

	c.Initiators, c.Alias = []string{strings.ToUpper(alice)}, "changed"
	c.CHAP = &target.CHAP{User: "u", Secret: secret}
	l.must(l.Update(c))
	l.sense(a, 0, 0)
	if p, err := b.Receive(); err == nil {
		t.Errorf("bob, who was taken out, gets %v", &p)
	}
	if got := l.Sessions(); len(got) != 1 || got[0].Initiator != alice {
		t.Errorf("sessions: %v", got)
	}
	if _, err := l.dial().Login(iscsitest.Names(alice, openIQN)...); err == nil {
		t.Error("alice got in again without the secret")
	}
	n := l.dial()
	n.ISID[5] = 9
	if _, err := n.LoginCHAP(iscsitest.CHAP{Algorithm: 7, User: "u", Secret: secret}, iscsitest.Names(alice, openIQN)); err != nil {
		t.Errorf("alice with the secret: %v", err)
	}
	l.sense(a, 0, 0)

	c.CHAP = &target.CHAP{User: "u", Secret: "short"}
	if err := l.Update(c); err == nil {
		t.Error("a short secret was taken")
	}
	c.IQN = "iqn.x:other"
	if err := l.Update(c); err == nil {
		t.Error("a target that isn't there was changed")
	}
}

// A login that was begun with credentials that have changed since is refused
// for now: 0301, try again.
func TestCredentialsChangeDuringLogin(t *testing.T) {
	l := newLive(t)
	c := target.Config{IQN: openIQN, Initiators: []string{"*"}, CHAP: &target.CHAP{User: "u", Secret: secret}}
	l.must(l.Add(c))
	conn := l.dial()
	changed := false
	names := iscsitest.Names(alice, openIQN)
	_, got, err := conn.LoginStep(iscsitest.Security, 0, append(names, "AuthMethod=CHAP")...)
	for _, step := range []func() []string{
		func() []string { return []string{"CHAP_A=7"} },
		func() []string {
			c.CHAP = &target.CHAP{User: "u", Secret: secret + "new"}
			l.must(l.Update(c))
			changed = true
			return iscsitest.CHAP{Algorithm: 7, User: "u", Secret: secret}.Answer(got)
		},
	} {
		l.must(err)
		_, got, err = conn.LoginStep(iscsitest.Security, 0, step()...)
	}
	l.must(err)
	_, _, err = conn.LoginStep(iscsitest.Security, iscsitest.FullFeature)
	if refused, ok := err.(*iscsitest.LoginError); !changed || !ok || refused.Status != 0x0301 {
		t.Errorf("login: %v", err)
	}
}

// Who may log in to what, and who is told of what, is what the lists say, for
// all combinations of lists, initiators and targets.
func TestAccessTable(t *testing.T) {
	const carol = "iqn.2026-01.test:carol"
	l := newLive(t)
	people := []string{alice, bob, carol}
	lists := [][]string{{}, {"*"}, {alice}, {strings.ToUpper(bob)}, {alice, bob}, {alice + "x"}, {"*", alice}, {alice[:len(alice)-1]}}
	model := func(list []string, who string) bool {
		return slices.ContainsFunc(list, func(n string) bool { return n == "*" || strings.ToLower(n) == who })
	}
	name := func(i int) string { return fmt.Sprintf("iqn.2026-01.test:t%d", i) }
	for i := range lists {
		l.must(l.Add(target.Config{IQN: name(i), Initiators: []string{"*"}}))
	}
	for round := range len(lists) {
		list := func(i int) []string { return lists[(i+round)%len(lists)] }
		for i := range lists {
			l.must(l.Update(target.Config{IQN: name(i), Initiators: list(i)}))
		}
		for _, who := range people {
			var want []string
			for i := range lists {
				allowed := model(list(i), who)
				if allowed {
					want = append(want, name(i))
				}
				for _, as := range []string{who, strings.ToUpper(who)} {
					c := l.dial()
					_, err := c.Login(iscsitest.Names(as, name(i))...)
					refused, isRefusal := err.(*iscsitest.LoginError)
					if allowed != (err == nil) || !allowed && (!isRefusal || refused.Status != 0x0202) {
						t.Errorf("%s at %v: %v", as, list(i), err)
					}
					c.Close()
				}
			}
			c := l.dial()
			if _, err := c.Login("InitiatorName="+who, "SessionType=Discovery"); err != nil {
				t.Fatal(err)
			}
			l.must(c.Send(c.TextRequest(0xffffffff, "SendTargets=All")))
			p, err := c.Receive()
			l.must(err)
			if diff := cmp.Diff(strings.Join(want, " "), iscsitest.Keys(p.Data)["TargetName"]); diff != "" {
				t.Errorf("%s is told (-want +got):\n%s", who, diff)
			}
			c.Close()
		}
	}
}
