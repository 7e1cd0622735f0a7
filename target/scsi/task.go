package scsi

import (
	"math/bits"

	"sanstick/target/block"
)

// Task is one command on its way through a unit. It belongs to one goroutine
// at a time; different tasks run in parallel.
//
// Life: Nexus.NewTask, then (for DataOut) the transport fetches up to
// DataOutLength bytes, then Run. A task that is aborted before Run is given to
// Discard instead; one whose Run has begun has to be waited for.
type Task struct {
	nexus   *Nexus
	path    *path // nil if the LUN has no unit
	lunZero bool
	reports bool // sent to the REPORT LUNS well-known logical unit
	command *command
	cdb     [16]byte
	info    block.Info // of the unit, when the task was made

	lba    uint64 // of commands with an extent
	blocks uint64
	want   int // data-out bytes

	inner     bool // part of a copy
	ended     bool // a check failed, result says how
	result    Result
	attention code // a unit attention in result

	out   []byte // while running
	alloc Allocator
	in    []byte // the buffer of a command that transfers blocks to the initiator

	begun      underway
	cancelling cancelling
}

// NewTask decodes a CDB that was sent to a LUN, and does all checks that can
// be done without its data. A failed check shows in the Result of Run; until
// then the task looks like a command that wants no data. cdb is copied; only
// its first 16 bytes count, a shorter one is padded with zeroes.
func (n *Nexus) NewTask(lun [8]byte, cdb []byte) *Task {
	t := new(Task)
	n.Begin(t, lun, cdb)
	return t
}

// Begin is NewTask for a task that the caller has allocated: the zero value.
func (n *Nexus) Begin(t *Task, lun [8]byte, cdb []byte) {
	t.nexus = n
	copy(t.cdb[:], cdb)
	t.command = n.device.commands.find(t.cdb)
	if l, err := decodeLUN(lun); err == nil {
		t.path = (*n.paths.Load())[l]
	}
	if t.path != nil {
		if u := t.path.unit; u.enter() {
			t.info = u.info()
			u.leave()
		} else {
			t.path = nil
		}
	}
	t.lunZero, t.reports = lun == [8]byte{}, lun == reportLUNsUnit
	t.prepare()
}

// prepare does the checks.
func (t *Task) prepare() {
	for _, check := range checks {
		if check(t); t.ended {
			return
		}
	}
	if t.command.want != nil {
		t.want = t.command.want(t)
	}
}

// Direction returns the way the command's data goes; NoData for a command that
// isn't known.
func (t *Task) Direction() Direction {
	if t.command == nil {
		return NoData
	}
	return t.command.direction
}

// DataOutLength returns how many bytes the command wants from the initiator:
// at most MaxTransfer, and 0 if a check has failed already.
func (t *Task) DataOutLength() int { return t.want }

// Allocator has buffers for data-in.
type Allocator interface {
	// Alloc returns a buffer of n bytes, whose content doesn't matter; it ends
	// up as Result.Data. A command may call it or not. It may block.
	Alloc(n int) []byte
}

// AllocFunc is a function as an Allocator.
type AllocFunc func(n int) []byte

// Alloc implements Allocator.
func (f AllocFunc) Alloc(n int) []byte { return f(n) }

// Run does the command and returns when it is done. It is called once.
//
// out is the data-out. It must stay as it is until Run returns. If the
// initiator sends less than the command wants, a plain write takes what has
// come, in whole blocks, and the transport reports the rest as residual
// overflow; atomic ones, a part of a block, or of a parameter list, fail. What
// is beyond DataOutLength is ignored, except that WRITE SAME and COMPARE AND
// WRITE, which know only one size, refuse it.
//
// alloc has the buffers for data-in; nil means that Run allocates.
func (t *Task) Run(out []byte, alloc Allocator) Result {
	if t.ended {
		return t.result
	}
	t.out, t.alloc = out, alloc
	if _, n := t.bytes(); t.command.direction == DataIn && t.command.flags&transfers != 0 && n > 0 && t.in == nil {
		t.in = t.buffer(int(n)) // may wait, for an initiator that takes no answers: hold nothing that others want
	}
	if t.path != nil {
		if !t.path.enter() {
			return t.check(illegal(lunNotSupported))
		}
		defer t.path.leave()
		if t.conflicts() {
			return Result{Status: ReservationConflict}
		}
	}
	return t.runCommand()
}

// runLocked does the command with its range of blocks locked.
func (t *Task) runLocked() Result {
	h, bad := t.lock()
	if bad.failed() {
		return t.check(bad)
	}
	defer h.release()
	return t.command.run(t)
}

// lock takes the task's range of blocks, alone or not, as the table says.
func (t *Task) lock() (held, sense) {
	switch f := t.command.flags; {
	case f&extent == 0:
	case f&alone != 0:
		return t.path.unit.exclude(t.bytes())
	case f&(transfers|writes) != 0:
		return t.path.unit.share(t.bytes())
	}
	return held{}, sense{}
}

// Discard gives back what a task took that will never run: a unit attention
// that nobody has been told of.
func (t *Task) Discard() {
	if t.attention != noAdditionalSense && t.path != nil {
		t.path.attentions.add(t.attention)
	}
	t.attention = noAdditionalSense
}

// checks are what every command goes through, in the order of SAM-5 section
// 5.3 and SPC-4 section 4.2: a unit attention comes before anything about the
// CDB, and rights come before values.
var checks = []func(*Task){
	(*Task).checkUnit,
	(*Task).checkAttention,
	(*Task).checkCommand,
	(*Task).checkReservation,
	(*Task).checkAccess,
	(*Task).checkReady,
	(*Task).checkSanitizing,
	(*Task).checkProtection,
	(*Task).checkReserved,
	(*Task).checkExtent,
	(*Task).checkSpace,
}

func (t *Task) checkUnit() {
	switch {
	case t.path != nil, t.reports:
	case t.command != nil && t.command.flags&anyLUN != 0:
	case t.command != nil && t.command.flags&zeroLUN != 0 && t.lunZero:
	default:
		t.fail(illegal(lunNotSupported))
	}
}

func (t *Task) checkAttention() {
	if t.path == nil || t.inner || (t.command != nil && t.command.flags&passAttention != 0) {
		return
	}
	if c, ok := t.path.attentions.take(); ok {
		t.attention = c
		t.fail(sense{key: unitAttention, code: c})
	}
}

func (t *Task) checkCommand() {
	if t.offered(t.command) {
		return
	}
	for _, c := range t.nexus.device.commands[t.cdb[0]].actions {
		if t.offered(c) { // an operation code that exists, but not with this service action
			t.fail(badCDB(1, 4))
			return
		}
	}
	t.fail(illegal(invalidOperationCode))
}

// checkProtection refuses to change a read-only medium.
func (t *Task) checkProtection() {
	if t.command.flags&writes == 0 {
		return
	}
	if c := t.path.unit.protection(t.info); c != noAdditionalSense {
		t.fail(sense{key: dataProtect, code: c})
	}
}

// checkReserved refuses a CDB that has a bit set which the command has no use
// for, as it may ask for something that wouldn't be done.
func (t *Task) checkReserved() {
	for i, mask := range t.command.mask {
		if wrong := t.cdb[i] &^ mask; wrong != 0 {
			t.fail(badCDB(i, byte(bits.Len8(wrong)-1)))
			return
		}
	}
}

// checkExtent decodes the blocks that a command is about, and refuses those
// that don't exist or are too many at once.
func (t *Task) checkExtent() {
	c := t.command
	if c.flags&extent == 0 {
		return
	}
	lba, blocks := c.extent()
	t.lba, t.blocks = lba.read(t.cdb), blocks.read(t.cdb)
	if len(c.usage) == 6 { // 21 bits of LBA, and 0 means 256 blocks
		t.lba &= 1<<21 - 1
		t.blocks = (t.blocks+255)%256 + 1
	}
	b := uint64(t.info.LogicalBlock)
	capacity := uint64(t.info.Size) / b
	if !inRange(t.lba, t.blocks, capacity) {
		t.fail(illegal(lbaOutOfRange))
		return
	}
	if c.flags&transfers != 0 && t.blocks > MaxTransfer/b {
		t.fail(badCDB(blocks.at, noBit))
	}
}

// inRange reports whether blocks at lba exist in a capacity of so many. None
// at all may be at the end of it, but not beyond: SBC-3 refuses an LBA, and an
// LBA plus a count, that exceeds the capacity.
func inRange(lba, blocks, capacity uint64) bool {
	return lba <= capacity && blocks <= capacity-lba
}

// fail ends the task before it has run.
func (t *Task) fail(s sense) {
	t.ended, t.result = true, t.check(s)
}

// check returns the result for a failure, with sense data in the format that
// the unit's control mode page asks for; s must be one.
func (t *Task) check(s sense) Result {
	return Result{Status: CheckCondition, Sense: s.encode(t.path != nil && t.path.unit.modes()&descriptorSense != 0)}
}

// done returns GOOD, or the failure that err is.
func (t *Task) done(err error, a access) Result {
	if err != nil {
		return t.check(deviceError(err, a))
	}
	return Result{Status: Good}
}

// reply returns GOOD with data, cut to the allocation length of the CDB.
func (t *Task) reply(data []byte) Result {
	if a := t.command.allocation; a.size != 0 {
		data = data[:min(uint64(len(data)), a.read(t.cdb))]
	}
	return Result{Status: Good, Data: data}
}

// buffer returns n bytes for data-in.
func (t *Task) buffer(n int) []byte {
	if t.alloc == nil {
		return make([]byte, n)
	}
	return t.alloc.Alloc(n)[:n]
}

// bytes returns the extent in bytes.
func (t *Task) bytes() (off, length int64) {
	b := uint64(t.info.LogicalBlock)
	return int64(t.lba * b), int64(t.blocks * b)
}
