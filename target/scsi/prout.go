package scsi

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
)

// Service actions of PERSISTENT RESERVE OUT (SPC-4 table 213).
const (
	prRegister       = 0
	prReserve        = 1
	prRelease        = 2
	prClear          = 3
	prPreempt        = 4
	prPreemptAbort   = 5
	prRegisterIgnore = 6
	prRegisterMove   = 7
)

// maxPROut bounds a parameter list, in bytes, and with it how many TransportIDs
// there can be.
const maxPROut = 32 << 10

func (t *Task) wantPROut() int {
	if n := (field{5, 4}).read(t.cdb); n <= maxPROut {
		return int(n)
	}
	return 0
}

// prRequest is a PERSISTENT RESERVE OUT command.
type prRequest struct {
	action      byte
	scope       byte
	kind        prType
	from        registration // the nexus it came on; no key
	key, newKey uint64       // RESERVATION KEY, SERVICE ACTION RESERVATION KEY
	others      bool         // SPEC_I_PT
	allPorts    bool         // ALL_TG_PT
	aptpl       bool
	unregister  bool   // UNREG
	port        uint16 // to which the reservation moves

	ids        []transportID
	initiators []string // the ports that the ids mean
	targets    []Port   // of the device
}

// Where the fields of a parameter list are that can be wrong.
const (
	atNewKey  = 8
	atMove    = 17 // UNREG and APTPL
	atPort    = 18 // RELATIVE TARGET PORT IDENTIFIER
	atFlags   = 20 // SPEC_I_PT, ALL_TG_PT and APTPL
	atMoveID  = 24
	atOthers  = 24 // TRANSPORTID PARAMETER DATA LENGTH
	prList    = 24 // length without TransportIDs
	atOtherID = 28
)

// decodePROut reads a parameter list (SPC-4 sections 6.16.3 and 6.16.4). Its
// length is that of the CDB.
func decodePROut(action byte, list []byte) (r prRequest, bad sense) {
	if len(list) < prList {
		return r, illegal(parameterListLength)
	}
	r.action = action
	r.key, r.newKey = binary.BigEndian.Uint64(list), binary.BigEndian.Uint64(list[atNewKey:])
	if action == prRegisterMove {
		return r, r.decodeMove(list)
	}
	flags := list[atFlags]
	r.others, r.allPorts, r.aptpl = flags&0x08 != 0, flags&0x04 != 0, flags&0x01 != 0
	switch {
	case flags&^0x0d != 0 || r.others && action != prRegister:
		return r, badParameter(atFlags)
	case list[21] != 0:
		return r, badParameter(21)
	case !r.others && len(list) != prList, r.others && len(list) < atOtherID:
		return r, illegal(parameterListLength)
	case !r.others:
		return r, sense{}
	}
	n := uint64(binary.BigEndian.Uint32(list[atOthers:]))
	if n != uint64(len(list)-atOtherID) {
		return r, illegal(parameterListLength)
	}
	for at := atOtherID; at < len(list); {
		id, size, ok := decodeTransportID(list[at:])
		if !ok {
			return r, badParameter(at)
		}
		r.ids = append(r.ids, id)
		at += size
	}
	return r, sense{}
}

// decodeMove reads what is special in the list of REGISTER AND MOVE.
func (r *prRequest) decodeMove(list []byte) sense {
	flags := list[atMove]
	r.unregister, r.aptpl = flags&0x02 != 0, flags&0x01 != 0
	r.port = binary.BigEndian.Uint16(list[atPort:])
	n := uint64(binary.BigEndian.Uint32(list[20:]))
	switch {
	case list[16] != 0:
		return badParameter(16)
	case flags&^0x03 != 0:
		return badParameter(atMove)
	case n != uint64(len(list)-atMoveID):
		return illegal(parameterListLength)
	}
	id, size, ok := decodeTransportID(list[atMoveID:])
	if !ok || size != len(list)-atMoveID || id.format != portFormat {
		return badParameter(atMoveID)
	}
	r.initiators = []string{id.name}
	return sense{}
}

// prOut serves PERSISTENT RESERVE OUT, SPC-4 section 6.16.
func (t *Task) prOut() Result {
	if n := (field{5, 4}).read(t.cdb); n != uint64(t.want) || len(t.out) < t.want {
		return t.check(illegal(parameterListLength))
	}
	req, bad := decodePROut(t.command.action(), t.out[:t.want])
	if bad.failed() {
		return t.check(bad)
	}
	req.scope, req.kind = t.cdb[2]>>4, prType(t.cdb[2]&0x0f)
	req.from = registration{nexus: t.nexus.id, port: t.nexus.port.RelativeID}
	if bad := t.nexus.device.resolve(&req, t.nexus); bad.failed() {
		return t.check(bad)
	}
	res, wait := t.path.unit.persistentReserve(t, &req)
	for _, gone := range wait {
		select {
		case <-gone:
		case <-t.cancel(): // nobody waits for the answer
			return res
		}
	}
	return res
}

// resolve fills in what a request means by "all target ports" and by names of
// initiators.
func (d *Device) resolve(r *prRequest, by *Nexus) sense {
	d.mu.Lock()
	defer d.mu.Unlock()
	r.targets = []Port{by.port}
	if r.allPorts || r.action == prRegisterMove {
		r.targets = d.allPorts()
		if !slices.ContainsFunc(r.targets, func(p Port) bool { return p.Name == by.port.Name }) {
			r.targets = append(r.targets, by.port)
		}
	}
	for _, id := range r.ids {
		if id.format == portFormat {
			r.initiators = append(r.initiators, id.name)
			continue
		}
		known := false
		for n := range d.nexuses {
			if strings.HasPrefix(n.id.initiator, id.name+portSeparator) {
				r.initiators = append(r.initiators, n.id.initiator)
				known = true
			}
		}
		if !known {
			return badParameter(atOtherID)
		}
	}
	slices.Sort(r.initiators)
	r.initiators = slices.Compact(r.initiators)
	return sense{}
}

// persistentReserve does a request as one step that nothing interleaves. The
// command may be answered when the channels are closed.
//
// Of two commands that end each other's tasks, the one that comes second is
// ended by the first: what has been aborted does nothing here any more. So the
// one that waits always waits for one that came before it, and never in a
// circle.
func (u *Unit) persistentReserve(t *Task, req *prRequest) (Result, []<-chan struct{}) {
	r := &u.reservations
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.legacy != nil || t.cancelled() {
		return Result{Status: ReservationConflict}, nil
	}
	if req.aptpl && r.keeper.store == nil && req.registers() {
		at := atFlags
		if req.action == prRegisterMove {
			at = atMove
		}
		return t.check(badParameter(at)), nil
	}
	c := r.state.apply(req)
	switch {
	case c.conflict:
		return Result{Status: ReservationConflict}, nil
	case c.bad.failed():
		return t.check(c.bad), nil
	}
	if err := r.keeper.save(&c.state); err != nil {
		if errors.Is(err, ErrStoreFull) {
			return t.check(illegal(insufficientRegistration)), nil
		}
		return t.check(sense{key: hardwareError, code: internalTargetFailure}), nil
	}
	r.state = c.state
	if c.counts {
		r.generation++
	}
	r.publish()
	for _, a := range c.attentions {
		u.attentionTo(a.code, func(n *Nexus) bool { return n.id != req.from.nexus && slices.Contains(a.to, n.id) })
	}
	if req.action != prPreemptAbort {
		return Result{Status: Good}, nil
	}
	preempted := func(n *Nexus) bool { return slices.Contains(c.preempted, n.id) }
	u.allowRemoval(preempted)
	return Result{Status: Good}, u.abortTasks(preempted, t)
}

// registers reports whether APTPL means something in the request.
func (r *prRequest) registers() bool {
	return r.action == prRegister || r.action == prRegisterIgnore || r.action == prRegisterMove
}
