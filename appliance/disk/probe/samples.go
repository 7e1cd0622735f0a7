package probe

import "iter"

const (
	chunk       = 1 << 20
	sampleSize  = 64 << 10
	sampleCount = 128
)

// areas yields the areas, as start and length, that must be zeros on a blank
// disk: all of a small one; of others both ends and the samples.
func areas(size int64) iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		if size <= whole {
			yield(0, size)
			return
		}
		if !yield(0, margin) || !yield(size-margin, margin) {
			return
		}
		for at := range samples(size) {
			if !yield(at, sampleSize) {
				return
			}
		}
	}
}

// samples yields the offsets between the ends that are looked at: every power
// of two, where partitions and filesystems like to start, and then one place
// in each of sampleCount equal stretches. The place within the stretch moves
// by the golden ratio, so that no regular layout is missed throughout.
func samples(size int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		first, last := int64(margin), size-margin-sampleSize
		for at := first; at < last; at *= 2 {
			if !yield(at) {
				return
			}
		}
		stretch := (last - first) / sampleCount
		for i := range int64(sampleCount) {
			// 2654435769 is 2^32 divided by the golden ratio.
			shift := int64(uint32(i*2654435769)) >> 8 // 24 bits
			within := (stretch >> 24 * shift) + (stretch&0xffffff)*shift>>24
			at := (first + i*stretch + within) &^ 4095
			if !yield(min(at, last)) {
				return
			}
		}
	}
}
