package main

import "testing"

// A CD is opened read-only, so that its file need not be writable.
func TestDiscFlag(t *testing.T) {
	var l lun
	if err := l.set("cd", ""); err != nil || !l.cd || !l.device.ReadOnly {
		t.Errorf("%+v, %v", l, err)
	}
	if err := l.set("cd", "yes"); err == nil {
		t.Error("a value for a switch is taken")
	}
}
