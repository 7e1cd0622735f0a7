package scsi

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// copyChunk is how many bytes of a copy are moved at once: a multiple of every
// block size, and no more than one command moves. The buffer is counted like
// that of a READ.
const copyChunk = 1 << 20

// copyCommands are the third-party copy commands (SPC-4 sections 6.4 and
// 6.17 to 6.20), in the version with list identifiers of one byte.
func copyCommands() []command {
	length := field{10, 4}
	return []command{{
		name:      "EXTENDED COPY (LID1)",
		usage:     []byte{0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction: DataOut,
		flags:     action,
		want: func(t *Task) int {
			return int(min(length.read(t.cdb), copyHeaderSize+maxCopyDescriptors))
		},
		copies: true,
		run:    (*Task).extendedCopy,
	}, {
		name:       "RECEIVE COPY STATUS (LID1)",
		usage:      []byte{0x84, 0x00, all, 0, 0, 0, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: length,
		sharing:    sharedAlways,
		run:        (*Task).receiveCopyStatus,
	}, {
		name:       "RECEIVE COPY OPERATING PARAMETERS",
		usage:      []byte{0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, all, all, all, all, 0, control},
		ignored:    []byte{2: all}, // a list identifier, as in its relatives
		direction:  DataIn,
		flags:      action,
		allocation: length,
		sharing:    sharedAlways,
		run:        (*Task).receiveCopyParameters,
	}, {
		name:       "RECEIVE COPY FAILURE DETAILS (LID1)",
		usage:      []byte{0x84, 0x04, all, 0, 0, 0, 0, 0, 0, 0, all, all, all, all, 0, control},
		direction:  DataIn,
		flags:      action,
		allocation: length,
		sharing:    sharedAlways,
		run:        (*Task).receiveCopyFailure,
	}}
}

// extendedCopy serves EXTENDED COPY (LID1), SPC-4 section 6.4. Segments are done
// one after the other, and the first that can't be done ends the command: the
// sense data says which. Those before it stay done.
func (t *Task) extendedCopy() Result {
	n := field{10, 4}.read(t.cdb)
	switch {
	case n == 0:
		return Result{Status: Good}
	case n > uint64(t.want), len(t.out) < t.want:
		return t.check(illegal(parameterListLength))
	}
	l, bad := decodeCopyList(t.out[:t.want])
	if bad.failed() {
		return t.check(bad)
	}
	u := t.path.unit
	if u.copying.Add(1) > maxCopies {
		u.copying.Add(-1)
		return Result{Status: Busy}
	}
	defer u.copying.Add(-1)
	var p *copyProgress
	if !l.noID {
		if p = t.path.copies.begin(l.id); p == nil {
			return t.check(illegal(operationInProgress))
		}
	}
	r := t.copySegments(&l, p)
	p.end(r)
	return r
}

func (t *Task) copySegments(l *copyList, p *copyProgress) Result {
	most := int64(0)
	for _, s := range l.segments {
		most = max(most, int64(s.blocks)*4096)
	}
	var buf []byte
	if most > 0 {
		buf = t.buffer(int(min(most, copyChunk)))
	}
	for i := range l.segments {
		s, bad := t.resolve(l, i)
		if bad.failed() {
			return t.check(bad)
		}
		if r := t.copyWhole(s, buf, p); r.Status != Good {
			return r
		}
		p.segmentDone()
	}
	return Result{Status: Good}
}

// segment is a copySegment whose ends are known.
type segment struct {
	number        int
	source        *path
	destination   *path
	from, to, len int64 // bytes
	fromBlock     int64 // bytes in a block
	toBlock       int64
}

// resolve finds the units of a segment: among those that the initiator itself
// reaches by this nexus, and no others.
func (t *Task) resolve(l *copyList, number int) (segment, sense) {
	d := &l.segments[number]
	s := segment{number: number}
	fail := func(c code, w where, at int) (segment, sense) {
		return s, sense{key: copyAborted, code: c, where: w, byte: uint16(at), bit: noBit, copy: &copySense{segment: uint16(number)}}
	}
	for i, end := range []struct {
		index uint16
		path  **path
		block *int64
	}{{d.source, &s.source, &s.fromBlock}, {d.destination, &s.destination, &s.toBlock}} {
		if int(end.index) >= len(l.targets) {
			return fail(targetNotReachable, inSegment, 4+2*i)
		}
		c, at := &l.targets[end.index], copyHeaderSize+int(end.index)*copyTargetSize
		if c.null {
			return fail(unreachableTarget, inParameters, at+1)
		}
		p := t.nexus.identified(c)
		if p == nil || !p.unit.enter() {
			return fail(targetNotReachable, inParameters, at+8)
		}
		size := p.unit.info().LogicalBlock
		p.unit.leave()
		switch {
		case p.unit.types() != disk || c.kind != 0:
			return fail(targetTypeIncorrect, inParameters, at+1)
		case int(c.block) != size:
			return fail(invalidFieldInParameter, inParameters, at+29)
		}
		*end.path, *end.block = p, int64(size)
	}
	unit := s.fromBlock
	if d.byDestination {
		unit = s.toBlock
	}
	s.len = int64(d.blocks) * unit
	const limit = 1 << 62 // bytes; no device is that large
	if s.len%s.fromBlock != 0 || s.len%s.toBlock != 0 {
		return fail(inexactSegment, inSegment, 10)
	}
	if d.from > limit/uint64(s.fromBlock) || d.to > limit/uint64(s.toBlock) {
		end := byte(ofSource)
		if d.from <= limit/uint64(s.fromBlock) {
			end = ofDestination
		}
		return s, s.forward(end, t.check(illegal(lbaOutOfRange)))
	}
	s.from, s.to = int64(d.from)*s.fromBlock, int64(d.to)*s.toBlock
	return s, sense{}
}

// identified returns the nexus's path to the unit that a CSCD descriptor means,
// by its NAA designator; nil if there is none.
func (n *Nexus) identified(c *copyTarget) *path {
	if c.codeSet != binarySet || c.identifier != ofUnit|naa {
		return nil
	}
	paths := *n.paths.Load()
	for _, lun := range slices.Sorted(maps.Keys(paths)) {
		if p := paths[lun]; bytes.Equal(p.unit.o.Identity.NAA[:], c.designator) {
			return p
		}
	}
	return nil
}

// copyWhole does one segment, in chunks. Each is a READ and a WRITE like the
// initiator's own, with all their rules: reservations, protection, locks.
func (t *Task) copyWhole(s segment, buf []byte, p *copyProgress) Result {
	g := t.beginGuest(s.source.unit, s.destination.unit)
	defer g.end()
	// With no blocks at all, rights and the place are looked at, before
	// anything is moved.
	for _, e := range []struct {
		end  byte
		path *path
		op   byte
		lba  int64
		off  int64
		size int64
	}{
		{ofSource, s.source, 0x88, s.from / s.fromBlock, s.from, s.fromBlock},
		{ofDestination, s.destination, 0x8a, s.to / s.toBlock, s.to, s.toBlock},
	} {
		r := t.issue(e.path, e.op, e.lba, 0, nil, nil)
		if r.Status == Good && !e.path.holds(e.off, s.len) {
			r = t.check(illegal(lbaOutOfRange))
		}
		if r.Status != Good {
			return t.check(s.forward(e.end, r))
		}
	}
	// Within one unit a chunk may lie on what is still to be read: then the
	// last one goes first.
	backwards := s.source.unit == s.destination.unit && s.to > s.from
	for done := int64(0); done < s.len; {
		n := min(copyChunk, s.len-done)
		at := done
		if backwards {
			at = s.len - done - n
		}
		if t.cancelled() || g.killed.Load() {
			return t.check(sense{key: copyAborted, code: commandsCleared, copy: &copySense{segment: uint16(s.number)}})
		}
		r := t.issue(s.source, 0x88, (s.from+at)/s.fromBlock, n/s.fromBlock, nil, buf[:n])
		if r.Status != Good {
			return t.check(s.forward(ofSource, r))
		}
		if int64(len(r.Data)) != n {
			return t.check(sense{key: hardwareError, code: internalTargetFailure})
		}
		if r = t.issue(s.destination, 0x8a, (s.to+at)/s.toBlock, n/s.toBlock, r.Data, nil); r.Status != Good {
			return t.check(s.forward(ofDestination, r))
		}
		done += n
		p.moved(n)
	}
	return Result{Status: Good}
}

// holds tells whether the unit has these bytes.
func (p *path) holds(off, n int64) bool {
	if !p.unit.enter() {
		return false
	}
	defer p.unit.leave()
	size := p.unit.info().Size
	return off <= size && n <= size-off
}

// issue does READ (16) or WRITE (16) on a path of this nexus, as if the
// initiator had sent it; unit attentions wait for the initiator all the same.
func (t *Task) issue(p *path, op byte, lba, blocks int64, out, in []byte) Result {
	c := &Task{nexus: t.nexus, path: p, inner: true}
	c.cdb[0] = op
	binary.BigEndian.PutUint64(c.cdb[2:], uint64(lba))
	binary.BigEndian.PutUint32(c.cdb[10:], uint32(blocks))
	c.command = t.nexus.device.commands.find(c.cdb)
	if !p.unit.enter() {
		return t.check(illegal(lunNotSupported))
	}
	c.info = p.unit.info()
	p.unit.leave()
	c.prepare()
	return c.Run(out, AllocFunc(func(n int) []byte { return in[:n] }))
}
