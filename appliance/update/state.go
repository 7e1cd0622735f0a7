package update

import (
	"encoding/json"
	"fmt"
	"time"
)

// Phase is how far an update is.
//
//	none ─Begin─> writing ─Written─> written ─Arm─> armed ─boot─> trying ─Confirm─> confirmed
//	                └───boot───┴────> interrupted      └────boot────┴──> fell-back
//
// From the last three, and from none, an update can Begin.
type Phase string

// The phases.
const (
	None        Phase = ""
	Writing     Phase = "writing"     // the slot holds nothing that can be booted
	Written     Phase = "written"     // it does, but nothing boots it
	Armed       Phase = "armed"       // the next boot tries it
	Trying      Phase = "trying"      // it runs, on trial
	Confirmed   Phase = "confirmed"   // it is the active slot
	FellBack    Phase = "fell-back"   // it was tried, or was to be, and what was there before runs
	Interrupted Phase = "interrupted" // it never came so far that it could be tried
)

// tries is how often a slot is booted on trial.
const tries = 1

// Record is what is known of the newest update. It explains; what is booted
// doesn't depend on it.
type Record struct {
	Phase   Phase     `json:"phase"`
	Slot    Slot      `json:"slot,omitempty"`    // that it is in
	Version string    `json:"version,omitempty"` // what is in there
	From    string    `json:"from,omitempty"`    // the version before
	Boot    string    `json:"boot,omitempty"`    // the run of the machine in which it was armed
	Began   time.Time `json:"began,omitzero"`
	Ended   time.Time `json:"ended,omitzero"`
	Starts  int       `json:"starts,omitempty"` // of the appliance, on trial
	Direct  bool      `json:"direct,omitempty"` // it was, or was to be, tried without the firmware
	Reason  string    `json:"reason,omitempty"` // why it fell back or was interrupted
	// Before is how the appliance was before, in the words of whoever compares
	// it with how it is on trial.
	Before json.RawMessage `json:"before,omitempty"`
}

// State is all that decides what happens next: what GRUB knows and what we do.
// A change of it is written in two steps, in the order that each method tells;
// Booted copes with a power cut between them.
type State struct {
	Env    Env
	Record Record
}

func wrong(verb string, p Phase) error {
	return fmt.Errorf("cannot %s an update that is %s", verb, cmpOr(string(p), "not there"))
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// mayBegin tells why no update can Begin now.
func (s State) mayBegin(running Boot) error {
	if s.Record.Phase == Trying || running.Mode == Try && s.Env.Next == running.Slot {
		return &Refusal{"the version that runs is on trial itself", "wait until it is confirmed (sanctl update status), or go back (sanctl update rollback)"}
	}
	return nil
}

// Begin gives the slot that doesn't run to another version: from now on only
// the running one boots. Env is written first, then Record, then the slot.
func (s State) Begin(running Boot, version, from string, now time.Time) (State, error) {
	if err := s.mayBegin(running); err != nil {
		return s, err
	}
	return State{
		Env:    s.Env.Plain(running.Slot),
		Record: Record{Phase: Writing, Slot: running.Slot.Other(), Version: version, From: from, Boot: running.ID, Began: now},
	}, nil
}

// Written says that the slot holds all of it, read back and compared.
func (s State) Written() (State, error) {
	if s.Record.Phase != Writing {
		return s, wrong("finish", s.Record.Phase)
	}
	s.Record.Phase = Written
	return s, nil
}

// Arm has the next boot try the slot. Record is written first, then Env.
func (s State) Arm(before json.RawMessage) (State, error) {
	if s.Record.Phase != Written {
		return s, wrong("try", s.Record.Phase)
	}
	s.Record.Phase, s.Record.Before = Armed, before
	s.Env = s.Env.Plain(s.Record.Slot.Other())
	s.Env.Next, s.Env.Left = s.Record.Slot, tries
	return s, nil
}

// Spend counts the trial before it begins, as GRUB does, for a start without GRUB.
// Record is written first, then Env.
func (s State) Spend() (State, error) {
	if s.Record.Phase != Armed || s.Env.Next != s.Record.Slot {
		return s, wrong("start", s.Record.Phase)
	}
	s.Env.Left, s.Record.Direct = 0, true
	return s, nil
}

// Confirm makes the slot on trial the active one. Env is written first, then
// Record.
func (s State) Confirm(now time.Time) (State, error) {
	if s.Record.Phase != Trying {
		return s, wrong("confirm", s.Record.Phase)
	}
	if s.Record.Reason != "" {
		return s, fmt.Errorf("cannot confirm an update that is given up: %s", s.Record.Reason)
	}
	s.Env = s.Env.Plain(s.Record.Slot)
	s.Record.Phase, s.Record.Ended, s.Record.Before = Confirmed, now, nil
	return s, nil
}

// Fail notes why the slot on trial isn't to be kept, if nobody has before. It
// can't be confirmed any more, the next boot falls back; only Record is written.
func (s State) Fail(reason string) (State, error) {
	if s.Record.Phase != Trying {
		return s, wrong("give up", s.Record.Phase)
	}
	s.Record.Reason = cmpOr(s.Record.Reason, reason)
	return s, nil
}

// Dismiss forgets an update that failed, after somebody has seen it.
func (s State) Dismiss() (State, error) {
	if s.Record.Phase != FellBack && s.Record.Phase != Interrupted {
		return s, &Refusal{"there is no failed update to dismiss", ""}
	}
	s.Record = Record{}
	return s, nil
}

// Booted says what has become of an update, from what GRUB booted. The
// appliance asks it at each start, so several times in a boot if it dies.
// Record is written first, then Env.
func (s State) Booted(b Boot, now time.Time) State {
	r := &s.Record
	onTrial := b.Mode == Try && b.Slot == s.Env.Next
	end := func(p Phase, reason string) {
		r.Phase, r.Ended, r.Before = p, now, nil
		r.Reason = cmpOr(r.Reason, reason)
	}
	switch {
	case onTrial && (r.Phase == Armed || r.Phase == Trying) && r.Slot == b.Slot:
		r.Phase = Trying
		r.Starts++
	case onTrial:
		// The record is lost or of something else: what runs is on trial all the same.
		*r = Record{Phase: Trying, Slot: b.Slot, Began: now, Starts: 1}
	case (r.Phase == Armed || r.Phase == Trying) && b.Slot == r.Slot && s.Env.Active == r.Slot && !s.Env.Armed():
		end(Confirmed, "") // the power failed between the two steps of Confirm
		r.Reason = ""
	case r.Phase == Writing || r.Phase == Written:
		end(Interrupted, "the machine went down, or the appliance ended, while the update was being written")
	case r.Phase == Armed && s.Env.Armed() && r.Boot == b.ID:
		return s // only the appliance has started again
	case r.Phase == Armed && !s.Env.Armed():
		end(Interrupted, "the machine went down before the update could be started")
	case r.Phase == Armed && s.Env.Left > 0:
		end(FellBack, "the boot loader couldn't count the attempt: it can't write to the stick")
	case r.Phase == Armed || r.Phase == Trying:
		end(FellBack, why(r.Starts, r.Direct))
	}
	bad := s.Env.Bad
	if s.Env.Armed() && !onTrial {
		s.Env = s.Env.Plain(s.Env.Next.Other())
	}
	s.Env.Bad = bad
	if bad == b.Slot {
		s.Env.Bad = "" // it could be read after all
	}
	return s
}

// why says what can be said of a trial that gave no reason itself.
func why(starts int, direct bool) string {
	switch {
	case starts == 0 && direct:
		return "it didn't come so far that the appliance started: its kernel stopped or hung, or the power failed; or the machine doesn't bear " +
			"being restarted without its firmware, then try sanctl update --no-kexec"
	case starts == 0:
		return "it didn't come so far that the appliance started: its kernel stopped or hung, or the power failed"
	case starts == 1:
		return "it started, and went down before it was confirmed: it hung, or the power failed"
	}
	return fmt.Sprintf("the appliance had to be started %d times, and the machine went down before it was confirmed", starts)
}
