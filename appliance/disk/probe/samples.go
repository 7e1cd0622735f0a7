package probe

import "iter"

const (
	sampleSize  = 64 << 10
	sampleCount = 128
)

// samples yields the offsets between the ends that are looked at: every power
// of two, where partitions and filesystems like to start, and then one place
// in each of sampleCount equal stretches. The place within the stretch moves
// by the golden ratio, so that no regular layout is missed throughout. A disk
// that is small enough is read completely.
func samples(size int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		first, last := int64(edge), size-edge-sampleSize
		if last < first {
			// The ends may leave a gap smaller than a sample.
			if size > 2*edge {
				yield(first)
			}
			return
		}
		if span := size - 2*edge; span <= sampleCount*sampleSize {
			for at := first; at < size-edge; at += sampleSize {
				if !yield(at) {
					return
				}
			}
			return
		}
		for at := int64(2 << 20); at < last; at *= 2 {
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
