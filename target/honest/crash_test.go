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
	random int // beside the one that loses the most, for each answer that has them
	every  int // which those are: one in so many
	storm  int // during a storm
}

// crashes makes the power go when the log had a size, and shows what the unit
// holds then: all that came before the last flush, with nothing of what came
// after, and then with random parts of that.
func (p *proof) crashes(t *testing.T, d *writelog.Disk, at int64, random int, rng *rand.Rand, check func(crash string, holds []byte, err error)) {
	t.Helper()
	if err := d.To(at); err != nil {
		t.Fatal(err)
	}
	if d.Unflushed() == 0 {
		random = 0
	}
	for i := range random + 1 {
		crash := "a crash that loses all since the last flush"
		survives := func(int) bool { return false }
		if i > 0 {
			seed := rng.Uint64()
			part := rand.New(rand.NewPCG(seed, 0))
			odds := part.Float64()
			crash = fmt.Sprintf("a crash that loses some of %d writes (seed %d)", d.Unflushed(), seed)
			survives = func(int) bool { return part.Float64() < odds }
		}
		image, err := d.Image(p.image, survives)
		if err != nil {
			t.Fatal(err)
		}
		holds, err := p.holds(image)
		check(crash, holds, err)
	}
}

// check returns the promises of the steps that weren't kept.
func (p *proof) check(t *testing.T, e effort) (found []finding) {
	t.Helper()
	d, rng := p.disk.replay(t), rand.New(rand.NewPCG(3, 0))
	l, next := newLedger(slices.Clone(p.unit.began)), 0
	for i, s := range p.unit.shots {
		random := 0
		if e.every > 0 && i%e.every == 0 {
			random = e.random
		}
		for ; next < s.events; next++ {
			l.add(p.unit.events[next])
		}
		p.crashes(t, d, s.at, random, rng, func(crash string, holds []byte, err error) {
			f := finding{step: s.step, crash: crash}
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
		})
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
		p.crashes(t, d, at, min(1, e.random), rng, func(crash string, holds []byte, err error) {
			what := ""
			if err != nil {
				what = err.Error()
			} else {
				what = p.unit.missing(holds, p.answers, at)
			}
			if what != "" {
				found = append(found, finding{"storm", true, crash, what})
			}
		})
	}
	return found, len(moments)
}
