package main

import (
	"context"
	"strings"
	"testing"

	"sanstick/target/iscsitest"
)

// A target is reached through the portal groups that the file says, and those
// may change while it runs.
func TestPortalGroups(t *testing.T) {
	second := freeAddress(t)
	config := func(more string) string {
		return "portal = [{ address = \"" + second + "\", group = 2 }]\n" +
			strings.Replace(section("iqn.x:one", `"*"`, fileA), "initiators", more+"\ninitiators", 1)
	}
	login := func(addr string) (*iscsitest.Conn, error) {
		c, err := iscsitest.Dial(context.Background(), addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, err = c.Login(iscsitest.Names(alice, "iqn.x:one")...)
		return c, err
	}
	r := newReloadRig(t, config(""))
	r.session(bob, "iqn.x:one", 0).Close() // both portals listen when the first does
	for _, addr := range []string{r.addr, second} {
		if _, err := login(addr); err != nil {
			t.Errorf("in all groups, at %s: %v", addr, err)
		}
	}
	r.change(config("groups = [2]"))
	if _, err := login(r.addr); err == nil {
		t.Error("in group 2 only: there by group 1")
	}
	if _, err := login(second); err != nil {
		t.Errorf("in group 2 only: %v", err)
	}
	r.change(config("redirect = { address = \"10.9.9.9:1\" }"))
	if _, err := login(r.addr); err == nil || !strings.Contains(err.Error(), "0x0101") {
		t.Errorf("redirected: %v", err)
	}
}
