package scsi

import (
	"bytes"
	"slices"
	"testing"

	"sanstick/target/block"
	"sanstick/target/block/faultdev"
	"sanstick/target/block/memdev"
)

// Each nexus hears of it once, whatever it does next; and again when it is said
// again.
func TestSpaceLow(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	nexuses := []*Nexus{r.newNexus(t), r.newNexus(t)}
	for range 2 {
		if err := r.unit.SpaceLow(); err != nil {
			t.Fatal(err)
		}
		if err := r.unit.SpaceLow(); err != nil {
			t.Fatal(err)
		}
		for _, n := range nexuses {
			wantSense(t, run(n, 0, "2a 00 00000000 00 0001 00", make([]byte, 512)), unitAttention, thinSoftThreshold)
			if got := run(n, 0, "2a 00 00000000 00 0001 00", make([]byte, 512)); got.Status != Good {
				t.Errorf("after the unit attention: %v", got.Status)
			}
		}
	}
	late := r.newNexus(t) // has been told of the power on
	wantSense(t, run(late, 0, "00", nil), unitAttention, thinSoftThreshold)
	r.unit.SpaceEnough()
	if got := run(r.newNexus(t), 0, "00", nil); got.Status != Good {
		t.Errorf("with enough space a new nexus gets %v, sense %x", got.Status, got.Sense)
	}
	if err := newRig(t, memdev.Options{}, UnitOptions{}).unit.SpaceLow(); err == nil {
		t.Error("a thick unit has warned of low space")
	}
}

// A full unit refuses what may take space, without having touched anything;
// what frees space, reads and flushes works.
func TestFull(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
	unit := r.unit.dev.Info().UnmapGranularity / 512
	old := pattern(16 * 512)
	r.good(t, "2a 00 00000000 00 0010 00", old)
	same := func(flags byte, lba, blocks int64) string {
		return hexOf(string([]byte{0x93, flags, 0, 0, 0, 0, 0, 0, 0, byte(lba), 0, 0, byte(blocks >> 8), byte(blocks), 0, 0}))
	}
	zeroes, ones := make([]byte, 512), bytes.Repeat([]byte{1}, 512)
	pending := r.nexus.NewTask([8]byte{}, cdb("2a 00 00000000 00 0001 00"))
	r.unit.SetFull(true)
	before := r.fault.Calls(faultdev.Write)
	wantSense(t, pending.Run(ones, nil), dataProtect, spaceAllocationFailed)

	refused := []struct {
		name, cdb string
		out       []byte
	}{
		{"WRITE (6)", "0a 000000 01 00", ones},
		{"WRITE (10)", "2a 00 00000000 00 0001 00", ones},
		{"WRITE (12)", "aa 00 00000000 00000001 00 00", ones},
		{"WRITE (16)", "8a 00 0000000000000000 00000001 00 00", ones},
		{"WRITE AND VERIFY (10)", "2e 00 00000000 00 0001 00", ones},
		{"WRITE AND VERIFY (12)", "ae 00 00000000 00000001 00 00", ones},
		{"WRITE AND VERIFY (16)", "8e 00 0000000000000000 00000001 00 00", ones},
		{"COMPARE AND WRITE", "89 00 0000000000000000 000000 01 00 00", append(slices.Clone(old[:512]), ones...)},
		{"ORWRITE (16)", "8b 00 0000000000000000 00000001 00 00", ones},
		{"WRITE ATOMIC (16)", "9c 00 0000000000000000 0000 0001 00 00", ones},
		{"WRITE SAME (10)", "41 00 00000000 00 0001 00", zeroes},
		{"WRITE SAME (10) of data with UNMAP", "41 08 00000000 00 0001 00", ones},
		{"WRITE SAME (16)", same(0, 0, unit), zeroes},
		{"WRITE SAME (16) of data with UNMAP", same(sameUnmap, 0, unit), ones},
		{"SANITIZE, OVERWRITE", "48 01 00 00 00 00 00 0005 00", overwriteList(1, []byte{1})},
		{"SANITIZE, BLOCK ERASE", "48 02 00 00 00 00 00 0000 00", nil},
	}
	tried := map[*command]bool{}
	for _, tt := range refused {
		task := r.nexus.NewTask([8]byte{}, cdb(tt.cdb))
		if task.command == nil || !r.offers(task.command) {
			t.Fatalf("%s isn't offered", tt.name)
		}
		tried[task.command] = true
		t.Run(tt.name, func(t *testing.T) {
			wantSense(t, r.run(tt.cdb, tt.out), dataProtect, spaceAllocationFailed)
		})
	}
	for _, c := range rows() { // nothing that writes is forgotten
		if found := r.nexus.device.commands.find([16]byte{c.usage[0], c.usage[1]}); c.flags&writes != 0 && r.offers(&c) && !tried[found] && c.name != "UNMAP" {
			t.Errorf("%s isn't tried", c.name)
		}
	}
	if n := r.fault.Calls(faultdev.Write); n != before {
		t.Errorf("%d writes", n-before)
	}
	if got := r.good(t, "28 00 00000000 00 0010 00", nil); !bytes.Equal(got, old) {
		t.Error("the blocks have changed")
	}
	r.good(t, "35 00 00000000 00 0000 00", nil)
	if wp := r.good(t, "1a 08 08 00 ff 00", nil)[2]; wp&0x80 != 0 {
		t.Error("the unit says that it is write-protected")
	}
	wantAttentions(t, "full", r.nexus, 0)

	r.good(t, same(sameUnmap, 0, unit), zeroes)
	r.good(t, same(sameUnmap|sameNDOB, unit, unit), nil)
	r.good(t, "42 00 00000000 00 0018 00", list("0016 0010 00000000 0000000000000002 0000000e 00000000"))
	if got := r.good(t, "28 00 00000000 00 0010 00", nil); !bytes.Equal(got, make([]byte, len(old))) {
		t.Error("not all is unmapped")
	}
	r.unit.SetFull(false)
	r.good(t, "2a 00 00000000 00 0001 00", ones)
	wantAttentions(t, "not full", r.nexus, 0)
}

// coarse unmaps in units of 64 KiB.
type coarse struct{ block.Device }

func (d coarse) Info() block.Info {
	i := d.Device.Info()
	i.UnmapGranularity = 64 << 10
	return i
}

// What isn't a whole unit of the granularity would have to be written.
func TestFullWriteSamePart(t *testing.T) {
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true})
	r.unit.dev = coarse{r.unit.dev}
	r.unit.SetFull(true)
	const whole, part = "93 08 0000000000000080 00000080 00 00", "93 08 0000000000000080 00000081 00 00"
	r.good(t, whole, make([]byte, 512))
	wantSense(t, r.run(part, make([]byte, 512)), dataProtect, spaceAllocationFailed)
	wantSense(t, r.run("93 08 0000000000000081 0000007f 00 00", make([]byte, 512)), dataProtect, spaceAllocationFailed)
}

// A sanitize operation that is running when its unit gets full fails.
func TestFullSanitize(t *testing.T) {
	r := newRig(t, memdev.Options{}, UnitOptions{Thin: true})
	d := slow{r.unit.dev, make(chan struct{}), make(chan struct{})}
	r.unit.dev = d
	done := make(chan Result)
	l := overwriteList(2, []byte{1})
	go func() { done <- r.do(sanitizeCDB(sanitizeOverwrite, l), l) }()
	<-d.began
	r.unit.SetFull(true)
	d.end <- struct{}{}
	for more := true; more; { // the chunk goes on to its end
		select {
		case <-d.began:
			d.end <- struct{}{}
		case got := <-done:
			wantSense(t, got, mediumError, sanitizeFailed)
			more = false
		}
	}
}

func TestSpaceLog(t *testing.T) {
	space := func() Space { return Space{Used: 3<<20 + 1, Available: 9<<20 - 1} }
	r := newRig(t, memdev.Options{LogicalBlock: 512}, UnitOptions{Thin: true, Space: space})
	const available, used = "0001 03 08 00000008 02000000", "0002 03 08 00000004 01000000"
	for _, tt := range []struct{ name, cdb, want string }{
		{"list", "4d 00 40 00 00 0000 00ff 00", "80 00 0005 00 02 03 05 0c"},
		{"list with subpages", "4d 00 40 ff 00 0000 00ff 00", "c0 ff 000c 0000 00ff 0200 0300 0500 0c00"},
		{"both", "4d 00 4c 00 00 0000 00ff 00", "8c 00 0018" + available + used},
		{"the second", "4d 00 4c 00 00 0002 00ff 00", "8c 00 000c" + used},
		{"the exponent", "12 01 b2 00ff 00", "00 b2 0004 0b e4 02 00"},
	} {
		wantBytes(t, tt.name, r.good(t, tt.cdb, nil), tt.want)
	}
	wantBytes(t, "4096", newRig(t, memdev.Options{LogicalBlock: 4096}, UnitOptions{Thin: true, Space: space}).good(t, "12 01 b2 00ff 00", nil), "00 b2 0004 08 e4 02 00")
	for _, command := range []string{"4d 00 4c 00 00 0003 00ff 00", "4d 00 cc 00 00 0000 00ff 00", "4d 00 4c 01 00 0000 00ff 00"} {
		wantSense(t, r.run(command, nil), illegalRequest, invalidFieldInCDB)
	}
	r.good(t, "4c 02 4c 00 00 00 00 0000 00", nil) // nothing to set back
	r.good(t, "4c 02 40 00 00 00 00 0000 00", nil)
	for _, o := range []UnitOptions{{Thin: true}, {Space: space}} {
		r := newRig(t, memdev.Options{}, o)
		wantSense(t, r.run("4d 00 4c 00 00 0000 00ff 00", nil), illegalRequest, invalidFieldInCDB)
		if got := r.good(t, "12 01 b2 00ff 00", nil)[4]; got != 0 {
			t.Errorf("threshold exponent %d", got)
		}
	}
}
