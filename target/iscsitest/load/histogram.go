package load

import (
	"math/bits"
	"time"
)

// Histogram counts durations with a precision of 1/16, from a microsecond to
// over an hour. The zero value is empty.
type Histogram struct {
	counts [32 * 16]int64
	total  int64
}

// index returns the class of so many microseconds: exact below 16, then 16
// classes for each power of two.
func index(us uint64) int {
	if us < 16 {
		return int(us)
	}
	e := bits.Len64(us) - 5 // us>>e is 16..31
	return min((e+1)*16+int(us>>e)-16, 32*16-1)
}

// upper returns the longest duration of a class.
func upper(i int) time.Duration {
	if i < 16 {
		return time.Duration(i+1) * time.Microsecond
	}
	e := i/16 - 1
	return time.Duration(uint64(i%16+17)<<e) * time.Microsecond
}

// Add counts a duration.
func (h *Histogram) Add(d time.Duration) {
	h.counts[index(uint64(max(d, 0)/time.Microsecond))]++
	h.total++
}

// Merge adds the counts of another.
func (h *Histogram) Merge(o *Histogram) {
	for i, n := range o.counts {
		h.counts[i] += n
	}
	h.total += o.total
}

// Quantile returns the duration below which this share (0 to 1) of all is; 0
// if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.total == 0 {
		return 0
	}
	want, sum := int64(q*float64(h.total)), int64(0)
	for i, n := range h.counts {
		if sum += n; sum > want || sum == h.total {
			return upper(i)
		}
	}
	return upper(len(h.counts) - 1)
}
