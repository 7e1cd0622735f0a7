package scsi

import (
	"encoding/binary"
	"sync/atomic"
)

const logParametersChanged code = 0x2a02

// counter counts what commands of one kind have done to the medium.
type counter struct{ bytes, errors atomic.Uint64 }

// counters are those of the log pages.
type counters struct{ writes, reads, verifies counter }

// count notes how a command ended.
func (t *Task) count(r Result) {
	f := t.command.flags
	if f&transfers == 0 {
		return
	}
	k := &t.path.unit.counters
	c, n := &k.verifies, len(t.out)
	switch {
	case t.command.direction == DataIn:
		c, n = &k.reads, len(r.Data)
	case f&writes != 0:
		c, n = &k.writes, min(n, t.want)
	default:
		_, length := t.bytes()
		n = int(length)
	}
	switch {
	case r.Status == Good:
		c.bytes.Add(uint64(n))
	case r.Status == CheckCondition && keyOf(r.Sense) == mediumError:
		c.errors.Add(1)
	}
}

// keyOf returns the sense key of sense data.
func keyOf(b []byte) senseKey {
	if b[0]&0x7f >= 0x72 {
		return senseKey(b[1] & 0xf)
	}
	return senseKey(b[2] & 0xf)
}

// logPage is a log page of error counters (SPC-4 section 7.3.7), or, with space,
// that of logical block provisioning.
type logPage struct {
	code  byte
	types types
	get   func(*counters) *counter
	space bool
}

// has reports whether the unit of a task has the page.
func (t *Task) has(p *logPage) bool {
	return p.types&t.types() != 0 && (!p.space || t.path.unit.tellsSpace())
}

// last is the highest parameter code of the page.
func (p *logPage) last() uint16 {
	if p.space {
		return usedResources
	}
	return uncorrectedErrors
}

// logPages are in ascending order. Only what the unit itself knows is there:
// what a device has corrected, its temperature and the like it doesn't.
var logPages = []logPage{
	{code: 0x02, types: disk, get: func(k *counters) *counter { return &k.writes }},
	{code: 0x03, types: anyType, get: func(k *counters) *counter { return &k.reads }},
	{code: 0x05, types: disk, get: func(k *counters) *counter { return &k.verifies }},
	{code: 0x0c, types: disk, space: true},
}

// Parameters of those pages.
const (
	bytesProcessed    = 0x0005
	uncorrectedErrors = 0x0006
)

// Values of PC in LOG SENSE and LOG SELECT.
const (
	pcCumulative        = 1
	pcDefaultCumulative = 3
)

func logCommands() []command {
	return []command{{
		name:      "LOG SELECT",
		usage:     []byte{0x4c, 0x02, all, all, 0, 0, 0, 0, 0, control},
		direction: NoData,
		types:     anyType,
		run:       (*Task).logSelect,
	}, {
		name:       "LOG SENSE",
		usage:      []byte{0x4d, 0, all, all, 0, all, all, all, all, control},
		direction:  DataIn,
		allocation: field{7, 2},
		sharing:    sharedAlways,
		types:      anyType,
		run:        (*Task).logSense,
	}}
}

// logSense serves LOG SENSE (SPC-4 section 6.8). There are no thresholds, and
// nothing is saved.
func (t *Task) logSense() Result {
	page, subpage, pointer := t.cdb[2]&0x3f, t.cdb[3], binary.BigEndian.Uint16(t.cdb[5:])
	if page == 0 {
		if pointer != 0 {
			return t.check(badCDB(5, noBit))
		}
		return t.logList(subpage)
	}
	p := t.findLogPage(page)
	control := t.cdb[2] >> 6
	switch {
	case p == nil:
		return t.check(badCDB(2, 5))
	case subpage != 0:
		return t.check(badCDB(3, noBit))
	case control != pcCumulative && control != pcDefaultCumulative:
		return t.check(badCDB(2, 7))
	case pointer > p.last():
		return t.check(badCDB(5, noBit))
	}
	b := []byte{0x80 | page, 0, 0, 0} // DS: nothing is saved
	if p.space {
		if control != pcCumulative { // what there is has no default
			return t.check(badCDB(2, 7))
		}
		b = append(b, t.spaceLog(pointer)...)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
		return t.reply(b)
	}
	c := p.get(&t.path.unit.counters)
	add := func(parameter uint16, v uint64) {
		if parameter < pointer {
			return
		}
		if control == pcDefaultCumulative {
			v = 0
		}
		b = binary.BigEndian.AppendUint16(b, parameter)
		b = binary.BigEndian.AppendUint64(append(b, 0, 8), v)
	}
	add(bytesProcessed, c.bytes.Load())
	add(uncorrectedErrors, c.errors.Load())
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return t.reply(b)
}

func (t *Task) findLogPage(code byte) *logPage {
	for i := range logPages {
		if p := &logPages[i]; p.code == code && t.has(p) {
			return p
		}
	}
	return nil
}

// logList is page 00: the pages there are, or those and their subpages (SPC-4
// sections 7.3.18 and 7.3.19).
func (t *Task) logList(subpage byte) Result {
	var b []byte
	switch subpage {
	case 0:
		b = []byte{0x80, 0, 0, 0, 0x00}
	case allSubpages:
		b = []byte{0xc0, allSubpages, 0, 0, 0, 0, 0, allSubpages} // DS, SPF
	default:
		return t.check(badCDB(3, noBit))
	}
	for i := range logPages {
		p := &logPages[i]
		if !t.has(p) {
			continue
		}
		b = append(b, p.code)
		if subpage != 0 {
			b = append(b, 0)
		}
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-4))
	return t.reply(b)
}

// logSelect serves LOG SELECT (SPC-4 section 6.7) as far as it sets counters
// back to zero (PCR), of one page or of all; parameters can't be sent.
func (t *Task) logSelect() Result {
	page, subpage := t.cdb[2]&0x3f, t.cdb[3]
	p := t.findLogPage(page)
	switch {
	case p == nil && page != 0:
		return t.check(badCDB(2, 5))
	case subpage != 0:
		return t.check(badCDB(3, noBit))
	case t.cdb[1]&0x02 == 0:
		return Result{Status: Good} // PCR is 0, and there is no list: nothing to do
	}
	for _, l := range logPages {
		if l.get != nil && (page == 0 || page == l.code) {
			c := l.get(&t.path.unit.counters)
			c.bytes.Store(0)
			c.errors.Store(0)
		}
	}
	t.path.unit.attention(logParametersChanged, t.nexus)
	return Result{Status: Good}
}
