package scsi

import (
	"testing"

	"sanstick/target/block/memdev"
)

func twoGroups(state AccessState) []PortGroup {
	return []PortGroup{
		{ID: 2, Preferred: true, Ports: []Port{testPort}},
		{ID: 3, State: state, Ports: []Port{{RelativeID: 2, Name: "b"}, {RelativeID: 3, Name: "c"}}},
	}
}

func TestPortGroups(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	const report, extended = "a3 0a 00000000 000000ff 00 00", "a3 2a 00000000 000000ff 00 00"
	wantBytes(t, "one group", r.good(t, report, nil), "0000000c 00 01 0002 00 00 00 01 0000 0001")
	wantBytes(t, "extended", r.good(t, extended, nil), "00000010 10 00 0000 00 01 0002 00 00 00 01 0000 0001")
	wantBytes(t, "cut", r.good(t, "a3 0a 00000000 00000005 00 00", nil), "0000000c 00")
	wantSense(t, r.run("a3 4a 00000000 000000ff 00 00", nil), illegalRequest, invalidFieldInCDB)

	if err := r.dev.SetPortGroups(twoGroups(ActiveNonOptimized)...); err != nil {
		t.Fatal(err)
	}
	two := r.dev.NewNexus("host", Port{RelativeID: 3, GroupID: 3}, nil)
	wantAttentions(t, "new", two, 0, powerOnReset)
	wantBytes(t, "two groups", run(two, 0, report, nil).Data,
		"0000001c 80 8f 0002 00 00 00 01 00000001 01 8f 0003 00 00 00 02 00000002 00000003")
	if got := run(two, 0, "12 00 00 0024 00", nil).Data; got[5]&0x30 != 0x10 || got[6] != 0x10 {
		t.Errorf("INQUIRY: TPGS or MULTIP of %x", got)
	}
	wantBytes(t, "ports", run(two, 0, "12 01 88 00 ff 00", nil).Data,
		"00 88 005c 0000 0001 0000 0000 0000 0028 53 98 00 24"+hexOf(testName+",t,0x0001")+"0000 00"+
			"0000 0002 0000 0000 0000 0008 53 98 00 04 62000000"+
			"0000 0003 0000 0000 0000 0008 53 98 00 04 63000000")
	wantAttentions(t, "non-optimised", two, 0)

	for _, tt := range []struct {
		state AccessState
		code  code
	}{{Standby, accessStandby}, {Unavailable, accessUnavailable}, {Transitioning, accessTransitioning}} {
		if err := r.dev.SetPortGroups(twoGroups(tt.state)...); err != nil {
			t.Fatal(err)
		}
		wantAttentions(t, "the active port", r.nexus, 0, accessStateChanged)
		r.good(t, "28 00 00000000 00 0001 00", nil)
		wantSense(t, run(two, 0, "00", nil), unitAttention, accessStateChanged)
		for _, command := range []string{"00", "28 00 00000000 00 0001 00", "2a 00 00000000 00 0001 00", "25"} {
			wantSense(t, run(two, 0, command, nil), notReady, tt.code)
		}
		for _, command := range []string{"12 00 00 00 24 00", "03 00 00 00 ff 00", "a0 00 00 000000 000000ff 00 00", report} {
			if got := run(two, 0, command, nil); got.Status != Good {
				t.Errorf("state %d, %s: %v", tt.state, command, got.Status)
			}
		}
		sensed := run(two, 0, "1a 00 3f 00 ff 00", nil)
		if tt.state == Standby && sensed.Status != Good {
			t.Errorf("MODE SENSE in standby: %v", sensed.Status)
		} else if tt.state != Standby {
			wantSense(t, sensed, notReady, tt.code)
		}
	}
	wantBytes(t, "changed", r.good(t, "a3 0a 00000000 00000010 00 00", nil), "0000001c 80 8f 0002 00 02 00 01 00000001")
	if err := r.dev.SetPortGroups(twoGroups(Transitioning)...); err != nil {
		t.Fatal(err)
	}
	wantAttentions(t, "nothing new", r.nexus, 0)
	if err := r.dev.SetPortGroups(twoGroups(ActiveOptimized)[0]); err != nil {
		t.Fatal(err)
	}
	wantAttentions(t, "a group less", r.nexus, 0, accessStateChanged)
	wantBytes(t, "one again", r.good(t, report, nil), "0000000c 80 01 0002 00 02 00 01 0000 0001")
}

func TestSetPortGroupsErrors(t *testing.T) {
	d := NewDevice(testName)
	for name, groups := range map[string][]PortGroup{
		"none":           nil,
		"same ID":        {{ID: 1}, {ID: 1}},
		"same port":      {{ID: 1, Ports: []Port{{RelativeID: 1}}}, {ID: 2, Ports: []Port{{RelativeID: 1}}}},
		"port 0":         {{ID: 1, Ports: []Port{{}}}},
		"no such state":  {{ID: 1, State: 5}},
		"too many":       make([]PortGroup, 256),
		"too many ports": {{ID: 1, Ports: make([]Port, 256)}},
	} {
		if err := d.SetPortGroups(groups...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// SET TARGET PORT GROUPS may ask for what is so.
func TestSetTargetPortGroups(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{})
	const eight = "a4 0a 00000000 00000008 00 00"
	r.good(t, "a4 0a 00000000 00000000 00 00", nil)
	r.good(t, "a4 0a 00000000 00000004 00 00", list("00000000"))
	r.good(t, eight, list("00000000 00 00 0002"))
	for name, tt := range map[string]struct {
		cdb, list string
		code      code
	}{
		"another state": {eight, "00000000 02 00 0002", invalidFieldInParameter},
		"another group": {eight, "00000000 00 00 0003", invalidFieldInParameter},
		"short":         {eight, "00000000 00 00", parameterListLength},
		"odd":           {"a4 0a 00000000 00000006 00 00", "00000000 00 00", parameterListLength},
		"too long":      {"a4 0a 00000000 ffffffff 00 00", "", invalidFieldInCDB},
	} {
		t.Run(name, func(t *testing.T) { wantSense(t, r.run(tt.cdb, list(tt.list)), illegalRequest, tt.code) })
	}
}
