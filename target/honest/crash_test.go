package honest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"sanstick/target/honest/internal/writelog"
)

// finding is a promise that wasn't kept.
type finding struct {
	step  string
	own   bool // it is the step's own promise, not only an earlier one
	crash string
	what  string
}

func (f finding) String() string { return fmt.Sprintf("%s, %s: %s", f.step, f.crash, f.what) }

// effort says how many crashes there are.
type effort struct {
	random int // some time after each answer, beside the one at once
	every  int // which answers those are: one in so many
	storm  int // during a storm
}

// crash makes the power go when the log had a size. The unit then holds all that
// came before the last flush and, if some is set, random parts of what came
// after. how says what it was.
func (p *proof) crash(t *testing.T, d *writelog.Disk, at int64, some *rand.Rand) (holds []byte, how string, err error) {
	t.Helper()
	if err := d.To(at); err != nil {
		t.Fatal(err)
	}
	how = "a crash that loses all since the last flush"
	survives := func(int) bool { return false }
	if some != nil {
		odds := some.Float64()
		how = fmt.Sprintf("a crash at byte %d of the log that loses some of %d writes", at, d.Unflushed())
		survives = func(int) bool { return some.Float64() < odds }
	}
	image, err := d.Image(p.image, survives)
	if err != nil {
		t.Fatal(err)
	}
	holds, err = p.holds(image)
	return holds, how, err
}

// check returns the promises of the steps that weren't kept: right after an
// answer, and at random moments until the next one that promises something.
func (p *proof) check(t *testing.T, e effort) (found []finding) {
	t.Helper()
	d, rng := p.disk.replay(t), rand.New(rand.NewPCG(3, 0))
	l, next := newLedger(slices.Clone(p.unit.began)), 0
	for i, s := range p.unit.shots {
		for ; next < s.events; next++ {
			l.add(p.unit.events[next])
		}
		judge := func(at int64, some *rand.Rand) {
			holds, how, err := p.crash(t, d, at, some)
			f := finding{step: s.step, crash: how}
			if err != nil {
				f.what, f.own = err.Error(), true
				found = append(found, f)
				return
			}
			wrong := l.broken(holds)
			if len(wrong) == 0 {
				return
			}
			for _, i := range wrong {
				f.own = f.own || s.own.has(i)
			}
			f.what = fmt.Sprintf("%d sectors are wrong, the first is %d; the command was about %d+%d",
				len(wrong), wrong[0], s.own.off/sector, s.own.n/sector)
			found = append(found, f)
		}
		judge(s.at, nil)
		if e.every == 0 || i%e.every != 0 || i+1 == len(p.unit.shots) {
			continue
		}
		later := p.unit.shots[i+1]
		for _, e := range p.unit.events[next:later.events] {
			l.sent(e.sent) // and will be once more, which changes nothing
		}
		moments := make([]int64, e.random)
		for i := range moments {
			moments[i] = s.at + rng.Int64N(max(1, later.at-s.at))
		}
		slices.Sort(moments)
		for _, at := range moments {
			judge(at, rng)
		}
	}
	return found
}

// checkStorm returns what is missing of the storm, and between how many flushes
// its answers came. Crashes between the same two
// flushes are alike, so the last moment is taken of those.
func (p *proof) checkStorm(t *testing.T, e effort) (found []finding, flushes int) {
	t.Helper()
	d := p.disk.replay(t)
	var moments []int64
	last := -1
	for _, a := range p.answers {
		if err := d.To(a.at); err != nil {
			t.Fatal(err)
		}
		if n := d.Flushes(); n != last {
			moments, last = append(moments, a.at), n
		}
		moments[len(moments)-1] = a.at
	}
	rng := rand.New(rand.NewPCG(4, 0))
	d = p.disk.replay(t)
	for i, at := range moments {
		if rng.IntN(len(moments)) >= e.storm && i != len(moments)-1 {
			continue
		}
		for _, some := range []*rand.Rand{nil, rng} {
			holds, how, err := p.crash(t, d, at, some)
			what := ""
			if err != nil {
				what = err.Error()
			} else {
				what = p.unit.missing(holds, p.answers, at)
			}
			if what != "" {
				found = append(found, finding{"storm", true, how, what})
			}
		}
	}
	return found, len(moments)
}
