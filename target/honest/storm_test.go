package honest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"sanstick/target/iscsitest"
)

// A storm is many writes with FUA at a time, so that flushes are shared.
const (
	stormSessions = 2
	stormDepth    = 32 // commands in flight in each
	stormSlots    = stormSessions * stormDepth
	stormWrites   = 12 // of each slot, one after the other
)

// answer is that of a write with a number, to the block of a slot.
type answer struct {
	at     int64 // size of the log
	slot   int
	number uint64
}

// storm has many writes done and returns their answers.
func (u *unit) storm() []answer {
	u.t.Helper()
	var wait sync.WaitGroup
	var mu sync.Mutex
	var answers []answer
	var failed atomic.Pointer[error]
	for i := range stormSessions {
		c := u.session()
		wait.Go(func() {
			got, err := u.blow(c, i*stormDepth)
			if err != nil {
				err = fmt.Errorf("session %d: %w", i, err)
				failed.Store(&err)
			}
			mu.Lock()
			defer mu.Unlock()
			answers = append(answers, got...)
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		u.t.Fatal(*err)
	}
	slices.SortStableFunc(answers, func(a, b answer) int { return int(a.at - b.at) })
	return answers
}

// blow is one session of a storm, with the slots from first.
func (u *unit) blow(c *iscsitest.Conn, first int) (answers []answer, err error) {
	running := make(map[uint32]answer) // by task tag
	start := func(slot int, number uint64) error {
		itt, err := c.Start(iscsitest.Command{CDB: cdb(0x2a, fua, u.slot(slot)/int64(u.block), 1), Out: u.numbered(slot, number)})
		running[itt] = answer{slot: slot, number: number}
		return err
	}
	for i := range stormDepth {
		if err := start(first+i, 1); err != nil {
			return nil, err
		}
	}
	for len(running) > 0 {
		p, err := c.Receive()
		if err != nil {
			return nil, err
		}
		at := u.disk.now(u.t)
		a, ok := running[p.ITT()]
		if p.Op() != 0x21 || p.BHS[2] != 0 || p.BHS[3] != 0 || !ok {
			return nil, fmt.Errorf("unexpected %v", &p)
		}
		delete(running, p.ITT())
		a.at = at
		answers = append(answers, a)
		if a.number < stormWrites {
			if err := start(a.slot, a.number+1); err != nil {
				return nil, err
			}
		}
	}
	return answers, nil
}

// slot returns where the block of a slot is. Between two there are others.
func (u *unit) slot(i int) int64 { return unitSize/2 + int64(i)*areaSize }

// numbered returns a block that tells which write it is of, in each sector.
func (u *unit) numbered(slot int, number uint64) []byte {
	b := make([]byte, u.block)
	for at := 0; at < len(b); at += sector {
		s := b[at:][:sector]
		for i := 0; i < sector; i += 8 {
			binary.LittleEndian.PutUint64(s[i:], number<<32|uint64(slot)<<16|uint64(at+i))
		}
	}
	return b
}

// missing says what is missing of the writes that were answered up to a size of
// the log.
func (u *unit) missing(holds []byte, answers []answer, at int64) string {
	var least [stormSlots]uint64
	for _, a := range answers {
		if a.at <= at {
			least[a.slot] = max(least[a.slot], a.number)
		}
	}
	for slot, n := range least {
		if n == 0 {
			continue
		}
		for off := 0; off < u.block; off += sector {
			if u.slot(slot)+int64(off)+sector > int64(len(holds)) {
				return "the unit is too short"
			}
			is := holds[u.slot(slot)+int64(off):][:sector]
			number := binary.LittleEndian.Uint64(is) >> 32
			if number < n || !bytes.Equal(is, u.numbered(slot, number)[off:][:sector]) {
				return fmt.Sprintf("slot %d, byte %d: write %d was answered, there is % x", slot, off, n, is[:16])
			}
		}
	}
	return ""
}
