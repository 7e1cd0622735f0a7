package probe

import (
	"cmp"
	"errors"
	"io"
	"slices"
	"strings"
)

// maxPartitions bounds the partitions that are looked at.
const maxPartitions = 128

// partitionWord ends what a partition is called.
const partitionWord = "partition"

func partition(kind string) string {
	if kind == "" {
		return partitionWord
	}
	return kind + " " + partitionWord
}

func (f Finding) isPartition() bool {
	return f.Partition > 0 && strings.HasSuffix(f.What, partitionWord)
}

// List returns everything known that is on a disk: what organises the disk
// itself, then each partition followed by what it holds. A copy of something
// that is there already isn't told; one that is all that is left is. If data of
// no known kind is all there is, that is the only finding; none at all says that
// the disk is blank, by the same measure as Probe.
//
// With an error, something couldn't be read, and the list is what was found
// nevertheless. The work is bounded: some 3 MiB for each partition, of 128 at
// most.
func List(r io.ReaderAt, size int64) ([]Finding, error) {
	if size <= 0 {
		return []Finding{{What: "no known size"}}, nil
	}
	d := newDevice(r, size, 0)
	all := run(d, probers)
	parts := partitions(d)
	errs := []error{d.err}
	for _, p := range parts {
		all = append(all, p)
		in := newDevice(io.NewSectionReader(r, p.Offset, p.Size), p.Size, 0)
		for _, f := range run(in, contents) {
			f.Partition = p.Partition
			f.Offset += p.Offset
			all = append(all, f)
		}
		errs = append(errs, in.err)
	}
	if len(all) == 0 && d.err == nil {
		if at := firstData(d); at >= 0 {
			if all = lost(d); len(all) == 0 {
				all = []Finding{{What: Unknown, Offset: at}}
			}
		}
		errs = append(errs, d.err)
	}
	return tidy(all), errors.Join(errs...)
}

func run(d *device, probers []prober) []Finding {
	var all []Finding
	for _, p := range probers {
		all = append(all, p(d)...)
	}
	return all
}

// partitions lists a disk's partitions. More than one kind of table may be
// there (a GPT with a hybrid MBR); the richest one counts.
func partitions(d *device) []Finding {
	for _, table := range []func(*device) []Finding{gptPartitions, apmPartitions, mbrPartitions} {
		if parts := table(d); len(parts) > 0 {
			return parts
		}
	}
	return nil
}

// lost looks for filesystems where a first partition usually begins, for disks
// whose partition table has gone.
func lost(d *device) []Finding {
	for _, start := range []int64{1 << 20, 63 * 512} {
		if start >= d.size || start < d.from {
			continue
		}
		in := newDevice(io.NewSectionReader(d, start, d.size-start), d.size-start, 0)
		found := run(in, contents)
		for i := range found {
			found[i].What += ", in a partition without a partition table"
			found[i].Offset += start
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// tidy orders findings and drops copies: of the same thing by its UUID and kind
// in the same place, and of what is both at the end of the disk and at that of
// its last partition.
func tidy(all []Finding) []Finding {
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(a.Partition, b.Partition) })
	var out []Finding
	for i, f := range all {
		kind, _, _ := strings.Cut(f.What, " (")
		known := slices.ContainsFunc(out, func(o Finding) bool {
			k, _, _ := strings.Cut(o.What, " (")
			return k == kind && o.UUID == f.UUID && o.Set == f.Set && o.Partition == f.Partition && !f.isPartition()
		})
		inside := f.Partition == 0 && slices.ContainsFunc(all[i+1:], func(o Finding) bool {
			return o.Partition > 0 && o.Offset == f.Offset && !o.isPartition()
		})
		if !known && !inside {
			out = append(out, f)
		}
	}
	return out
}
