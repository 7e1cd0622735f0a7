package unh_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"sanstick/target/iscsitest"
	"sanstick/target/scsi"
)

// sweep is a session for many commands.
type sweep struct {
	*bench
	c *iscsitest.Conn
}

func newSweep(t *testing.T, o scsi.UnitOptions) *sweep {
	t.Helper()
	needsOwn(t)
	b := &bench{T: t, addr: serveUnit(t, o)}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	t.Cleanup(cancel)
	c, err := iscsitest.Dial(ctx, b.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// All data-out goes with the command.
	b.login(c, "InitialR2T=No", "ImmediateData=Yes", "FirstBurstLength=131072", "MaxRecvDataSegmentLength=262144")
	return &sweep{b, c}
}

// many does n commands, with some of them in flight at once.
func (s *sweep) many(n int, command func(i int) iscsitest.Command, check func(i int, r iscsitest.Result)) {
	s.Helper()
	const depth = 32
	type flight struct {
		i    int
		data []byte
	}
	flying := make(map[uint32]*flight)
	for sent, ended := 0, 0; ended < n; {
		if sent < n && len(flying) < depth {
			p, _ := s.c.Request(command(sent))
			s.send(s.c, p)
			flying[p.ITT()] = &flight{i: sent}
			sent++
			continue
		}
		p, err := s.c.Receive()
		if err != nil {
			s.Fatal(err)
		}
		f := flying[p.ITT()]
		if f == nil || p.Op() != 0x25 && p.Op() != 0x21 {
			s.Fatalf("unexpected %v", &p)
		}
		if p.Op() == 0x25 {
			if int(p.U32(40)) != len(f.data) {
				s.Fatalf("Data-In out of order: %v", &p)
			}
			f.data = append(f.data, p.Data...)
			if p.BHS[1]&1 == 0 {
				continue
			}
		}
		r := iscsitest.Result{Status: p.BHS[3], Data: f.data, Overflow: p.BHS[1]&4 != 0, Underflow: p.BHS[1]&2 != 0, Residual: p.U32(44)}
		if p.Op() == 0x21 && len(p.Data) > 2 {
			r.Sense = p.Data[2:]
		}
		delete(flying, p.ITT())
		ended++
		check(f.i, r)
		if s.Failed() {
			s.Fatal("stopped")
		}
	}
}

// withTemplates runs a test for the commands of some classes that the target
// has. A command without template fails.
func withTemplates(t *testing.T, o scsi.UnitOptions, run func(s *sweep, tp *template), classes ...class) {
	s := newSweep(t, o)
	ran := 0
	for _, key := range s.commandsOf() {
		i := slices.IndexFunc(templates, func(tp template) bool { return tp.key() == key })
		if i < 0 {
			t.Errorf("no template for operation code %#02x, service action %#x: add it", key>>16, key&0xffff)
			continue
		}
		if tp := &templates[i]; slices.Contains(classes, tp.class) {
			ran++
			t.Run(tp.name, func(t *testing.T) { run(&sweep{&bench{T: t, addr: s.addr, isid: 100}, s.c}, tp) })
		}
	}
	if ran == 0 {
		t.Error("no command was tried")
	}
	t.Logf("%d commands", ran)
}

// residualOf is what a transfer of want bytes leaves of an expected length.
func residualOf(want, edtl int) outcome {
	switch {
	case want > edtl:
		return outcome{overflow: true, residual: uint32(want - edtl)}
	case want < edtl:
		return outcome{underflow: true, residual: uint32(edtl - want)}
	}
	return outcome{}
}

func outcomeOf(r iscsitest.Result) outcome {
	return outcome{r.Status, r.Overflow, r.Underflow, r.Residual}
}

// lengths are the lengths to try for something of n bytes in a field of this
// size: all up to a little more than n and some larger ones; with -long all
// there are.
func lengths(n, size int) []int {
	most := 0xffff
	if size == 1 {
		most = 0xff
	}
	var all []int
	for l := 0; l <= most; l++ {
		if *long || l <= min(n, 300)+20 || l > n-20 && l < n+20 || l&(l-1) == 0 || l&(l+1) == 0 || l%997 == 0 {
			all = append(all, l)
		}
	}
	return all
}

// TestAllocationLengths: an answer is never longer than the allocation length,
// a cut one is the beginning of the whole one, and the residual counts what the
// initiator expected and doesn't get (SPC-4 section 4.2.5.6).
func TestAllocationLengths(t *testing.T) {
	t.Run("disk", func(t *testing.T) { withTemplates(t, aDisk, sweepAllocation, answers) })
	t.Run("disc", func(t *testing.T) { withTemplates(t, scsi.UnitOptions{Disc: true}, sweepAllocation, answers) })
}

var aDisk = scsi.UnitOptions{Thin: true}

func sweepAllocation(s *sweep, tp *template) {
	variants := [][]byte{nil}
	if tp.variants != nil {
		variants = tp.variants(s)
	}
	total := 0
	for _, v := range variants {
		most := uint32(0xffff)
		if tp.size == 1 {
			most = 0xff
		}
		full := s.answer(tp.cdb(v, most))
		if tp.changing != nil {
			tp.changing(full)
		}
		if tp.size == 4 {
			got := s.answer(tp.cdb(v, 0xffffffff))
			if tp.changing != nil {
				tp.changing(got)
			}
			s.same("the largest allocation length", full, got)
		}
		ls := lengths(len(full), tp.size)
		total += len(ls)
		// What is expected: as much, more, half.
		expect := func(i int) int { return [3]int{ls[i], 70000, ls[i] / 2}[i%3] }
		s.many(len(ls), func(i int) iscsitest.Command {
			return iscsitest.Command{CDB: tp.cdb(v, uint32(ls[i])), In: expect(i)}
		}, func(i int, r iscsitest.Result) {
			what := fmt.Sprintf("variant % x, allocation length %d, %d expected", v, ls[i], expect(i))
			if ls[i] < tp.least && r.Status == 2 && r.SenseCode() == 0x052400 {
				return
			}
			n := min(ls[i], len(full))
			if got, want := outcomeOf(r), residualOf(n, expect(i)); got != want {
				s.Errorf("%s: %+v, want %+v", what, got, want)
			}
			if tp.changing != nil {
				tp.changing(r.Data)
			}
			if want := full[:min(n, expect(i))]; !bytes.Equal(r.Data, want) {
				s.Errorf("%s: % x, want % x", what, r.Data, want)
			}
		})
	}
	s.Logf("%d variants, %d commands", len(variants), total)
}

// area is where the sweeps of data-out work, and what must not change there.
func (s *sweep) area(seed byte) []byte {
	s.Helper()
	data := noise(seed, 256*blockSize)
	s.good(s.c, iscsitest.Write10(0, data, blockSize))
	return data
}

func (s *sweep) unchanged(what string, want []byte) {
	s.Helper()
	if got := s.good(s.c, iscsitest.Read10(0, 256, blockSize)); !bytes.Equal(got, want) {
		s.Errorf("%s: the medium has changed", what)
	}
}

// TestParameterListLengths: a parameter list that is cut, by its length in the
// CDB or by what comes, is refused, and nothing of it is done.
func TestParameterListLengths(t *testing.T) {
	withTemplates(t, aDisk, func(s *sweep, tp *template) {
		variants := [][]byte{nil}
		if tp.variants != nil {
			variants = tp.variants(s)
		}
		for i, l := range tp.lists(s) {
			v := variants[min(i, len(variants)-1)]
			before := s.area(byte(i))
			n := len(l.data)
			long := append(slices.Clone(l.data), bytes.Repeat([]byte{0xff}, 65536-n)...)
			ls := lengths(n, tp.size)
			ls = slices.DeleteFunc(ls, func(x int) bool { return x == n })
			mayPass := func(x int) bool { return x == 0 || slices.Contains(l.whole, x) || x > n && !l.never }
			s.many(len(ls), func(i int) iscsitest.Command {
				return iscsitest.Command{CDB: tp.cdb(v, uint32(ls[i])), Out: long[:ls[i]]}
			}, func(i int, r iscsitest.Result) {
				if r.Status == 0 && !mayPass(ls[i]) {
					s.Errorf("a list of %d bytes is cut at %d: GOOD", n, ls[i])
				}
				if r.Status != 0 && r.Status != 2 && r.Status != 0x18 {
					s.Errorf("length %d: status %#x", ls[i], r.Status)
				}
			})
			// The CDB says all, and less comes; or the CDB says less.
			for short := range n {
				r := s.do(s.c, iscsitest.Command{CDB: tp.cdb(v, uint32(n)), Out: long[:short]})
				if r.Status == 0 || !r.Overflow && short > 0 && !r.Underflow {
					s.Errorf("%d of %d bytes come: %+v", short, n, r)
				}
				r = s.do(s.c, iscsitest.Command{CDB: tp.cdb(v, uint32(short)), Out: l.data})
				if r.Status == 0 && !mayPass(short) {
					s.Errorf("the CDB says %d of %d bytes: %+v", short, n, r)
				}
				if s.Failed() {
					s.Fatal("stopped")
				}
			}
			// Longer lists may have passed, where what follows is nothing.
			if slices.ContainsFunc(ls, func(x int) bool { return x > n && mayPass(x) }) && (tp.op == 0x42 || tp.op == 0x83) {
				s.area(byte(i))
			}
			s.unchanged(tp.name, before)
			if l.never {
				continue
			}
			r := s.do(s.c, iscsitest.Command{CDB: tp.cdb(v, uint32(n)), Out: l.data})
			if (r.Status == 0) == l.fails {
				s.Errorf("the whole list of %d bytes: %+v", n, r)
			}
		}
	}, listed)
}

// TestBlockResiduals: all combinations of blocks in the CDB and expected
// lengths, of commands that move blocks; also with the wrong direction.
func TestBlockResiduals(t *testing.T) {
	blocks := []int{0, 1, 2, 8}
	edtls := []int{0, 1, 511, 512, 513, 700, 1024, 1536, 4095, 4096, 4097, 8192, 65536}
	withTemplates(t, aDisk, func(s *sweep, tp *template) {
		var variant []byte
		if tp.variants != nil {
			variant = tp.variants(s)[0]
		}
		per := blockSize
		if tp.perBlock != 0 {
			per = tp.perBlock
		}
		before := s.area(7)
		for _, n := range blocks {
			if tp.op == 0x08 || tp.op == 0x0a {
				if n == 0 {
					continue // means 256
				}
			}
			want := n * per
			switch {
			case tp.one && n == 0:
				continue // means all, or nothing
			case tp.one:
				want = blockSize
			case tp.class == fixed:
				want = 8
			}
			for _, edtl := range edtls {
				cdb := tp.cdb(variant, uint32(n))
				what := fmt.Sprintf("%d blocks, %d bytes expected", n, edtl)
				if tp.class == readBlocks || tp.class == fixed {
					r := s.do(s.c, iscsitest.Command{CDB: cdb, In: edtl})
					if got, want := outcomeOf(r), residualOf(want, edtl); got != want {
						s.Errorf("%s: %+v, want %+v", what, got, want)
					}
					if len(r.Data) != min(want, edtl) || tp.class == readBlocks && !bytes.Equal(r.Data, before[:len(r.Data)]) {
						s.Errorf("%s: %d bytes, or wrong ones", what, len(r.Data))
					}
					if r := s.do(s.c, iscsitest.Command{CDB: cdb, Out: make([]byte, edtl)}); edtl > 0 && (len(r.Data) > 0 || r.Status == 0 && !r.Overflow && !r.Underflow) {
						s.Errorf("%s, with W: %+v", what, outcomeOf(r))
					}
					continue
				}
				s.writeResiduals(tp, cdb, what, want, edtl, before)
			}
		}
		s.unchanged(tp.name, before)
	}, readBlocks, fixed, writeRange, exactly)
}

// writeResiduals sends edtl bytes to a command that wants want, and checks that
// the medium has what was written, and nothing else. Afterwards it is as
// before.
func (s *sweep) writeResiduals(tp *template, cdb []byte, what string, want, edtl int, before []byte) {
	s.Helper()
	out := slices.Clone(before[:min(edtl, len(before))]) // VERIFY, COMPARE AND WRITE: what is there
	if tp.class == writeRange {
		out = noise(99, edtl)
	}
	r := s.do(s.c, iscsitest.Command{CDB: cdb, Out: out})
	if r.Status == 0 {
		if got, want := outcomeOf(r), residualOf(want, edtl); got != want {
			s.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	if tp.class == exactly {
		if edtl < want && r.Status == 0 {
			s.Errorf("%s: GOOD with too little data", what)
		}
		if !tp.one && !(tp.perBlock > blockSize) {
			s.unchanged(what, before) // it writes what is there
		} else {
			s.good(s.c, iscsitest.Write10(0, before, blockSize))
		}
	} else {
		n := min(want, edtl) / blockSize * blockSize
		if r.Status != 0 {
			n = 0
		}
		s.unchanged(what, append(out[:n:n], before[n:]...))
		s.good(s.c, iscsitest.Write10(0, before, blockSize))
	}
	if edtl > 0 {
		r := s.do(s.c, iscsitest.Command{CDB: cdb, In: edtl})
		if len(r.Data) > 0 || want > 0 && r.Status == 0 && !r.Overflow && !r.Underflow {
			s.Errorf("%s, with R: %+v", what, outcomeOf(r))
		}
		if want > 0 {
			s.unchanged(what+", with R", before)
		}
	}
	if s.Failed() {
		s.Fatal("stopped")
	}
}
