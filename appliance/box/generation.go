package box

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"sanstick/appliance/disk/stickcopy"
)

// Of an appliance's copies the one with the highest generation is the newest. The disks
// that are here don't tell which generations there are on others. So the stick has a
// number that is above all that were given out.

// generationName is the file on the stick with it.
const generationName = "sanstick/generation"

// generationStep is how many generations are given out before the stick is written
// again. A start goes on above them, whether they were used or not.
const generationStep = 1000

// newest gives a copy a generation above all of its appliance, and notes that all disks
// should have it. One that is known to be the newest stays as it is.
func (c *copies) newest(x stickcopy.Copy) stickcopy.Copy {
	whole := c.whole()
	id, err := c.readID()
	ours := err == nil && id == x.Appliance // the stick is here, and not another one
	var above uint64
	if ours {
		above = c.readGeneration()
	}
	c.mu.Lock()
	if ours && c.counts != id {
		c.counts, c.generation = id, max(c.generation, above)
	}
	var newest stickcopy.Copy
	for _, k := range c.last {
		if g := k.copy.Generation; k.copy.Appliance == x.Appliance && (g > newest.Generation || g == newest.Generation && k.copy.Same(x)) {
			newest = k.copy
		}
	}
	// Without all disks, who knows what there was in between.
	if newest.Same(x) && (whole || newest.Generation == c.generation) {
		x = newest // disks that lack it get the very same
	} else {
		x.Generation = max(c.generation, newest.Generation) + 1
	}
	c.generation = max(c.generation, x.Generation)
	next := c.generation
	c.want = x
	c.mu.Unlock()
	if ours && next > above {
		// If it can't be written, the disks that are here still count.
		_ = c.write(func() error {
			if err := c.own(); err != nil {
				return err
			}
			return replaceFile(filepath.Join(c.dir, generationName), encodeGeneration(next))
		})
	}
	return x
}

// encodeGeneration is what the stick has while generations from g on are given out.
func encodeGeneration(g uint64) []byte { return fmt.Appendln(nil, g+generationStep) }

// readGeneration reads the stick's number; 0 if there is none that makes sense.
func (c *copies) readGeneration() uint64 {
	b, err := readBounded(filepath.Join(c.dir, generationName))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n > stickcopy.MaxGeneration {
		return 0
	}
	return n
}
