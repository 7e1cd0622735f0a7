package honest

import "testing"

// kinds are all the ways in which targetd opens a disk that outlives it.
func kinds() []kind {
	all := []kind{
		{name: "block device of 512, unit of 512", disk: 512, block: 512},
		{name: "block device of 512, unit of 4096", disk: 512, block: 4096},
		{name: "block device of 4096, unit of 4096", disk: 4096, block: 4096},
		{name: "sparse file, unit of 512", disk: 512, block: 512, file: true},
		{name: "full file, unit of 4096", disk: 512, block: 4096, file: true, full: true},
		{name: "full file, direct, unit of 512", disk: 512, block: 512, file: true, direct: true, full: true},
		{name: "sparse file, direct, unit of 4096", disk: 4096, block: 4096, file: true, direct: true},
	}
	if *long {
		all = append(all,
			kind{name: "full file, unit of 512", disk: 512, block: 512, file: true, full: true},
			kind{name: "sparse file, unit of 4096", disk: 4096, block: 4096, file: true},
			kind{name: "sparse file, direct, unit of 512", disk: 512, block: 512, file: true, direct: true},
			kind{name: "full file, direct, unit of 4096", disk: 512, block: 4096, file: true, direct: true, full: true},
		)
	}
	return all
}

// How many crashes a kind of disk is put through.
func (k kind) effort() effort {
	switch {
	case *long && k.file:
		return effort{random: 20, every: 1, storm: 1000}
	case *long:
		return effort{random: 50, every: 1, storm: 1000}
	case k.file: // a file system recovers in each
		return effort{random: 1, every: 5, storm: 4}
	}
	return effort{random: 2, every: 1, storm: 12}
}

// What targetd calls durable survives a power cut.
func TestPromises(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			p := observe(t, k, nil)
			for _, f := range p.check(t, k.effort()) {
				t.Error(f)
			}
			found, flushes := p.checkStorm(t, k.effort())
			for _, f := range found {
				t.Error(f)
			}
			t.Logf("%d answers came between %d flushes", len(p.answers), flushes)
			if flushes < 3 {
				t.Error("the storm shows nothing: there is not enough between the flushes")
			}
		})
	}
}
