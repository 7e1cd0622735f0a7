package unh_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"sanstick/target/iscsitest"
)

// difference is a command that two targets answer differently.
type difference struct {
	name      string // of the command
	cmd       iscsitest.Command
	op        byte
	ours, tgt iscsitest.Result
	answered  bool // by tgt
	// What differs.
	status, sense, data, residual bool
}

func (d *difference) String() string {
	show := func(r iscsitest.Result) string {
		return fmt.Sprintf("status %#02x sense %06x O %t U %t residual %d, %d bytes %.40x", r.Status, r.SenseCode(), r.Overflow, r.Underflow, r.Residual, len(r.Data), r.Data)
	}
	return fmt.Sprintf("%s, LUN %d, CDB % x, in %d, out %d, list %.64x\n  ours: %s\n  tgt:  %s", d.name, d.cmd.LUN, d.cmd.CDB, d.cmd.In, len(d.cmd.Out), d.cmd.Out, show(d.ours), show(d.tgt))
}

// twins are the two targets.
type twins struct {
	ours, tgt *peer
	r         *rand.Rand
	image     []byte // what is on both disks
	mode      [2][]byte
}

// TestDifferencesToTgt sends the same random commands, most of them nearly
// right, to our target and to tgt. Every difference must be one that the table
// explains.
func TestDifferencesToTgt(t *testing.T) {
	needsOwn(t)
	n := 5000
	if *long {
		n = 100000
	}
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	tw := &twins{ours: ourPeer(t), tgt: tgtPeer(t), r: rand.New(rand.NewPCG(*seed, 0))}
	for _, p := range []*peer{tw.ours, tw.tgt} {
		if err := p.connect(ctx); err != nil {
			t.Fatal(err)
		}
		defer func() { p.c.Close() }()
	}
	if err := tw.settle(ctx, true); err != nil {
		t.Fatal(err)
	}
	same, explained, unknown := 0, make([]int, len(explanations)), map[string]int{}
	for i := range n {
		if i%100 == 99 {
			if err := tw.compareDisks(ctx); err != nil {
				t.Fatalf("after %d commands: %v", i, err)
			}
		}
		name, cmd := tw.command()
		d, err := tw.do(ctx, name, cmd)
		if err != nil {
			t.Fatalf("command %d, %s, CDB % x: %v", i, name, cmd.CDB, err)
		}
		if d == nil {
			same++
		} else if row := slices.IndexFunc(explanations, func(e explanation) bool { return e.match(d) }); row >= 0 {
			explained[row]++
		} else {
			kind := fmt.Sprintf("%s: status %#x/%#x, sense %06x/%06x, data %t, residual %t", name, d.ours.Status, d.tgt.Status, d.ours.SenseCode(), d.tgt.SenseCode(), d.data, d.residual)
			if unknown[kind]++; unknown[kind] == 1 {
				t.Errorf("command %d (seed %d) is answered differently, and nothing explains it:\n%v", i, *seed, d)
			}
		}
		if err := tw.settle(ctx, d != nil && (changes(cmd.CDB) || !d.answered) || cmd.CDB[0] == 0x1b || cmd.CDB[0] == 0x15 || cmd.CDB[0] == 0x55); err != nil {
			t.Fatalf("after command %d, %s, CDB % x: %v", i, name, cmd.CDB, err)
		}
	}
	for kind, times := range unknown {
		t.Logf("%6d unexplained: %s", times, kind)
	}
	t.Logf("%6d of %d commands are answered alike", same, n)
	for i, e := range explanations {
		t.Logf("%6d %s", explained[i], e.why)
	}
}

// do sends a command to both.
func (tw *twins) do(ctx context.Context, name string, cmd iscsitest.Command) (*difference, error) {
	a, answered, err := tw.ours.do(ctx, cmd)
	if err != nil || !answered {
		return nil, fmt.Errorf("our target doesn't answer: %s, %w", a.Sense, err)
	}
	z, answered, err := tw.tgt.do(ctx, cmd)
	if err != nil {
		return nil, err
	}
	if op := cmd.CDB[0]; (op == 0x41 || op == 0x93) && cmd.CDB[1]&8 != 0 && a.Status == 0 && z.Status == 0 {
		// What tgt makes of UNMAP shows on the medium alone.
		read := iscsitest.Read10(uint32(lbaOf(cmd.CDB)), 1, blockSize)
		read.LUN = cmd.LUN
		there, _, err1 := tw.ours.do(ctx, read)
		here, _, err2 := tw.tgt.do(ctx, read)
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		a.Data, z.Data = there.Data, here.Data
	}
	d := &difference{name: name, cmd: cmd, op: cmd.CDB[0], ours: a, tgt: z, answered: answered}
	d.status = a.Status != z.Status
	d.sense = a.SenseCode() != z.SenseCode()
	d.data = !bytes.Equal(normal(cmd, a.Data), normal(cmd, z.Data))
	d.residual = outcomeOf(a).residual != outcomeOf(z).residual || a.Overflow != z.Overflow || a.Underflow != z.Underflow
	if !d.status && !d.sense && !d.data && !d.residual {
		return nil, nil
	}
	return d, nil
}

// changes says whether a command may change what later ones see.
func changes(cdb []byte) bool {
	switch cdb[0] {
	case 0x0a, 0x2a, 0x2e, 0x41, 0x42, 0x48, 0x83, 0x89, 0x8a, 0x8b, 0x8e, 0x93, 0x9c, 0xaa, 0xae, // the medium
		0x15, 0x55, 0x1b, 0x1e, 0x5f, 0x16, 0x17, 0x56, 0x57, 0xa4: // the unit
		return true
	}
	return false
}

// settle brings both targets into the same state again: no reservations, modes
// as they were and, if the disks may differ, the same data.
func (tw *twins) settle(ctx context.Context, disks bool) error {
	if !disks {
		return nil
	}
	if tw.image == nil {
		tw.image = noise(120, twinSize)
	}
	for i, p := range []*peer{tw.ours, tw.tgt} {
		if tw.mode[i] == nil {
			r, _, err := p.do(ctx, iscsitest.Command{LUN: 1, CDB: []byte{0x5a, 8, 0x0a, 0, 0, 0, 0, 0, 255, 0}, In: 255})
			if err != nil || r.Status != 0 {
				return fmt.Errorf("%s: MODE SENSE: %+v, %w", p.name, r, err)
			}
			tw.mode[i] = r.Data
			clear(tw.mode[i][:8])
			tw.mode[i][8] &= 0x3f
		}
		register := make([]byte, 24)
		register[15] = 7
		key := make([]byte, 24)
		key[7] = 7
		for _, cmd := range []iscsitest.Command{
			{CDB: []byte{0x1b, 0, 0, 0, 1, 0}}, // start
			{CDB: []byte{0x1e, 0, 0, 0, 0, 0}}, // allow removal
			{CDB: []byte{0x17, 0, 0, 0, 0, 0}}, // release
			{CDB: []byte{0x5f, 6, 0, 0, 0, 0, 0, 0, 24, 0}, Out: register},
			{CDB: []byte{0x5f, 3, 0, 0, 0, 0, 0, 0, 24, 0}, Out: key},
			{CDB: []byte{0x55, 0x10, 0, 0, 0, 0, 0, 0, byte(len(tw.mode[i])), 0}, Out: tw.mode[i]},
		} {
			cmd.LUN = 1
			if _, _, err := p.do(ctx, cmd); err != nil {
				return err
			}
		}
		write := iscsitest.Write10(0, tw.image, blockSize)
		write.LUN = 1
		for try := 0; ; try++ {
			r, _, err := p.do(ctx, write)
			if err != nil {
				return err
			}
			if r.Status == 0 {
				break
			}
			if try == 3 {
				return fmt.Errorf("%s: cannot write: %+v", p.name, r)
			}
		}
	}
	return nil
}

// compareDisks checks that all writes so far have done the same.
func (tw *twins) compareDisks(ctx context.Context) error {
	read := iscsitest.Read10(0, twinBlocks, blockSize)
	read.LUN = 1
	a, _, err := tw.ours.do(ctx, read)
	if err != nil {
		return err
	}
	z, _, err := tw.tgt.do(ctx, read)
	if err != nil {
		return err
	}
	if a.Status != 0 || z.Status != 0 || !bytes.Equal(a.Data, z.Data) {
		for i := range min(len(a.Data), len(z.Data)) {
			if a.Data[i] != z.Data[i] {
				return fmt.Errorf("the disks differ from byte %d on, block %d", i, i/blockSize)
			}
		}
		return fmt.Errorf("the disks can't be compared: %#x, %#x", a.Status, z.Status)
	}
	return nil
}

// lbaOf returns the LBA of a CDB of 10 bytes or more.
func lbaOf(cdb []byte) uint64 {
	if len(cdb) == 16 {
		return binary.BigEndian.Uint64(cdb[2:])
	}
	return uint64(binary.BigEndian.Uint32(cdb[2:]))
}

// normal hides in an answer the generation of the reservations, which counts
// what was done before.
func normal(cmd iscsitest.Command, p []byte) []byte {
	if cmd.CDB[0] == 0x5e && cmd.CDB[1] != 2 && len(p) > 0 {
		p = slices.Clone(p)
		clear(p[:min(4, len(p))])
	}
	return p
}
