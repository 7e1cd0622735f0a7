package update

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	normalA = Boot{SlotA, Normal, "1"}
	tryB    = Boot{SlotB, Try, "2"}
	backA   = Boot{SlotA, Fallback, "3"}
	armedB  = Env{Active: SlotA, Next: SlotB, Left: 1}
	triedB  = Env{Active: SlotA, Next: SlotB}
)

func TestParseBoot(t *testing.T) {
	for line, want := range map[string]Boot{
		"BOOT_IMAGE=(hd0,gpt2)/a/vmlinuz console=tty0 quiet panic=10 slot=a mode=normal\n": {Slot: SlotA, Mode: Normal},
		"slot=b mode=try":      {Slot: SlotB, Mode: Try},
		"mode=fallback slot=a": {Slot: SlotA, Mode: Fallback},
		"slot=c mode=try":      {Mode: Try},
		"slot=a mode=other":    {},
		"slot=a":               {},
		"":                     {},
	} {
		got, ok := ParseBoot(line)
		if ok != (want.Slot != "") || ok && got != want {
			t.Errorf("%q: %+v, %v", line, got, ok)
		}
	}
}

// TestBooted is every way in which the appliance can find itself started.
func TestBooted(t *testing.T) {
	plainA, plainB := Env{Active: SlotA}, Env{Active: SlotB}
	record := func(p Phase, starts int, reason string) Record {
		r := Record{Phase: p, Slot: SlotB, Version: "v2", Boot: "1", Starts: starts, Reason: reason}
		if p == FellBack || p == Interrupted || p == Confirmed {
			r.Ended = day
		}
		return r
	}
	for _, tt := range []struct {
		name     string
		in       State
		boot     Boot
		want     State
		contains string // in the reason, which is not compared otherwise
	}{
		{"nothing", State{Env{}, Record{}}, normalA, State{Env{}, Record{}}, ""},
		{"cut while writing", State{plainA, record(Writing, 0, "")}, Boot{SlotA, Normal, "2"}, State{plainA, record(Interrupted, 0, "")}, "being written"},
		{"the appliance ended while writing", State{plainA, record(Writing, 0, "")}, normalA, State{plainA, record(Interrupted, 0, "")}, "being written"},
		{"cut before arming", State{plainA, record(Written, 0, "")}, normalA, State{plainA, record(Interrupted, 0, "")}, "being written"},
		{"cut while arming", State{plainA, record(Armed, 0, "")}, Boot{SlotA, Normal, "2"}, State{plainA, record(Interrupted, 0, "")}, "before the update could be started"},
		{"armed, the appliance starts again", State{armedB, record(Armed, 0, "")}, normalA, State{armedB, record(Armed, 0, "")}, ""},
		{"armed, GRUB can't write", State{armedB, record(Armed, 0, "")}, Boot{SlotA, Fallback, "2"}, State{plainA, record(FellBack, 0, "")}, "couldn't count"},
		{"armed, GRUB can't read", State{armedB, record(Armed, 0, "")}, Boot{SlotA, Normal, "2"}, State{plainA, record(FellBack, 0, "")}, "couldn't count"},
		{"on trial", State{triedB, record(Armed, 0, "")}, tryB, State{triedB, record(Trying, 1, "")}, ""},
		{"on trial, the appliance starts again", State{triedB, record(Trying, 1, "")}, tryB, State{triedB, record(Trying, 2, "")}, ""},
		{"never came up", State{triedB, record(Armed, 0, "")}, backA, State{plainA, record(FellBack, 0, "")}, "its kernel stopped or hung"},
		{"went down once", State{triedB, record(Trying, 1, "")}, backA, State{plainA, record(FellBack, 1, "")}, "before it was confirmed"},
		{"died again and again", State{triedB, record(Trying, 5, "")}, backA, State{plainA, record(FellBack, 5, "")}, "started 5 times"},
		{"said why", State{triedB, record(Trying, 1, "target vm1 isn't served")}, backA, State{plainA, record(FellBack, 1, "")}, "target vm1 isn't served"},
		{"confirmed", State{plainB, record(Confirmed, 0, "")}, Boot{SlotB, Normal, "3"}, State{plainB, record(Confirmed, 0, "")}, ""},
		{"confirmed, the appliance starts again", State{plainB, record(Confirmed, 0, "")}, tryB, State{plainB, record(Confirmed, 0, "")}, ""},
		{"cut while confirming", State{plainB, record(Trying, 1, "")}, Boot{SlotB, Normal, "3"}, State{plainB, record(Confirmed, 1, "")}, ""},
		{"cut while confirming, the first record lost, too", State{plainB, record(Armed, 0, "")}, Boot{SlotB, Normal, "3"}, State{plainB, record(Confirmed, 0, "")}, ""},
		{"cut after noting the fall back", State{triedB, record(FellBack, 1, "why")}, Boot{SlotA, Fallback, "4"}, State{plainA, record(FellBack, 1, "")}, "why"},
		{"the record is lost, on trial", State{triedB, Record{}}, tryB, State{triedB, Record{Phase: Trying, Slot: SlotB, Starts: 1, Began: day}}, ""},
		{"the record is lost, fallen back", State{triedB, Record{}}, backA, State{plainA, Record{}}, ""},
		{"the active slot can't be loaded", State{plainA, Record{}}, Boot{SlotB, Fallback, "2"}, State{plainA, Record{}}, ""},
		{"the active slot couldn't be read", State{Env{Active: SlotA, Bad: SlotA}, Record{}}, Boot{SlotB, Fallback, "2"}, State{Env{Active: SlotA, Bad: SlotA}, Record{}}, ""},
		{"it could be read after all", State{Env{Active: SlotA, Bad: SlotA}, Record{}}, normalA, State{plainA, Record{}}, ""},
		{"after a trial the active slot couldn't be read", State{Env{Active: SlotA, Next: SlotB, Bad: SlotA}, Record{}}, Boot{SlotB, Fallback, "2"}, State{Env{Active: SlotA, Bad: SlotA}, Record{}}, ""},
		{"armed in a run that was itself a trial, the appliance starts again",
			State{Env{Active: SlotB, Next: SlotA, Left: 1}, Record{Phase: Armed, Slot: SlotA, Boot: "2"}}, tryB,
			State{Env{Active: SlotB, Next: SlotA, Left: 1}, Record{Phase: Armed, Slot: SlotA, Boot: "2"}}, ""},
	} {
		got := tt.in.Booted(tt.boot, day)
		if reason := got.Record.Reason; !strings.Contains(reason, tt.contains) || tt.contains == "" && reason != "" {
			t.Errorf("%s: reason %q, want one with %q", tt.name, reason, tt.contains)
		}
		got.Record.Reason = ""
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got)\n%s", tt.name, diff)
		}
		again := got
		again.Record.Reason = tt.want.Record.Reason
		if got.Record.Phase != Trying { // where each start counts
			if diff := cmp.Diff(got, again.Booted(tt.boot, day)); diff != "" && got.Record.Reason != "" {
				t.Errorf("%s, again (-want +got)\n%s", tt.name, diff)
			}
		}
	}
}

func TestTransitions(t *testing.T) {
	s := State{Env: Env{Others: []Variable{{"saved", "1"}}}}
	step := func(name string, next State, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		s = next
	}
	n, err := s.Begin(normalA, "v2", "v1", day)
	step("begin", n, err)
	if s.Env.Active != SlotA || s.Record.Slot != SlotB || s.Record.Phase != Writing {
		t.Errorf("begun: %+v", s)
	}
	n, err = s.Written()
	step("written", n, err)
	n, err = s.Arm([]byte(`{}`))
	step("arm", n, err)
	if diff := cmp.Diff(Env{Active: SlotA, Next: SlotB, Left: tries, Others: s.Env.Others}, s.Env); diff != "" {
		t.Errorf("armed (-want +got)\n%s", diff)
	}
	s.Env.Left = 0 // by GRUB
	s = s.Booted(tryB, day)
	if string(s.Record.Before) != "{}" {
		t.Error("what was before is lost")
	}
	n, err = s.Fail("because")
	step("fail", n, err)
	if s.Record.Phase != Trying || s.Record.Reason != "because" {
		t.Errorf("failed: %+v", s.Record)
	}
	if n, err = s.Confirm(day); err == nil || !strings.Contains(err.Error(), "because") || cmp.Diff(s, n) != "" {
		t.Errorf("confirmed after it was given up: %+v, %v", n, err)
	}
	n, err = s.Fail("of something else")
	step("fail again", n, err)
	if s.Record.Reason != "because" {
		t.Errorf("failed again: %+v", s.Record)
	}
	s.Record.Reason = ""
	n, err = s.Confirm(day)
	step("confirm", n, err)
	if diff := cmp.Diff(Env{Active: SlotB, Others: s.Env.Others}, s.Env); diff != "" || s.Record.Phase != Confirmed {
		t.Errorf("confirmed: %s (-want +got)\n%s", s.Record.Phase, diff)
	}
}

// What an update may go through, and nothing else.
func TestWrongTransitions(t *testing.T) {
	all := []Phase{None, Writing, Written, Armed, Trying, Confirmed, FellBack, Interrupted}
	for verb, tt := range map[string]struct {
		do      func(State) (State, error)
		allowed []Phase
	}{
		"begin":   {func(s State) (State, error) { return s.Begin(normalA, "v2", "v1", day) }, []Phase{None, Writing, Written, Armed, Confirmed, FellBack, Interrupted}},
		"written": {State.Written, []Phase{Writing}},
		"arm":     {func(s State) (State, error) { return s.Arm(nil) }, []Phase{Written}},
		"confirm": {func(s State) (State, error) { return s.Confirm(day) }, []Phase{Trying}},
		"fail":    {func(s State) (State, error) { return s.Fail("x") }, []Phase{Trying}},
		"dismiss": {State.Dismiss, []Phase{FellBack, Interrupted}},
	} {
		for _, p := range all {
			s := State{Env: Env{Active: SlotA}, Record: Record{Phase: p, Slot: SlotB}}
			got, err := tt.do(s)
			allowed := false
			for _, a := range tt.allowed {
				allowed = allowed || a == p
			}
			if (err == nil) != allowed {
				t.Errorf("%s when %q: error %v", verb, p, err)
			}
			if err != nil && cmp.Diff(s, got) != "" {
				t.Errorf("%s when %q: refused, but the state has changed", verb, p)
			}
		}
	}
	// On trial without a record.
	if _, err := (State{Env: triedB}).Begin(tryB, "v3", "v2", day); !errors.Is(err, ErrRefused) {
		t.Errorf("an update during a trial: %v", err)
	}
}
