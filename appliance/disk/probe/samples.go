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
		if !yield(0, head) || !yield(size-tail, tail) {
			return
		}
		for at := range samples(size) {
			if !yield(at, sampleSize) {
				return
			}
		}
		for at, n := range groupStarts(size) {
			if !yield(at, n) {
				return
			}
		}
	}
}

// samples yields the offsets between the ends that are looked at: places where
// filesystems like to begin something, and then one place in each of sampleCount
// equal stretches. The place within the stretch moves by the golden ratio, so
// that no regular layout is missed throughout.
func samples(size int64) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		first, last := int64(head), size-tail-sampleSize
		for at := first; at < last; at *= 2 {
			if !yield(at) {
				return
			}
		}
		// The second copy of the first metadata of btrfs, which mkfs puts 256 MiB
		// or 1 GiB behind the first one.
		for _, at := range []int64{37<<20 + 256<<20, 37<<20 + 1<<30} {
			if at < last && !yield(at) {
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

// groupStarts yields windows, as start and length, in which the allocation
// groups of an xfs filesystem begin if it fills the disk: mkfs makes 4 equal
// ones, or more for arrays, or some of 1 TiB less a block. Sizes are rounded to
// blocks of up to 4 KiB, each group's alike.
func groupStarts(size int64) iter.Seq2[int64, int64] {
	return func(yield func(int64, int64) bool) {
		const block = 4096
		for _, groups := range []int64{32, 3, 5, 6, 7} {
			for k := int64(1); k < groups; k++ {
				start := size / groups * k &^ (block - 1)
				start = max(start-k*block, 0)
				if !yield(start, min((2*k+2)*block, size-start)) {
					return
				}
			}
		}
		for k := int64(1); k < size>>40; k++ {
			if !yield(k<<40-k*block, block) {
				return
			}
		}
	}
}
