package main

// benchCase is a kind of work on a kind of backing.
type benchCase struct {
	name    string
	backing string
	tool    tool
	// least and aim are the ratios to tgt that are wanted; 0 = none is named.
	least, aim float64
}

// Names of cases that are compared with each other.
const (
	randomRead   = "4 KiB random read, QD 32"
	streamRead   = "256 KiB sequential read, QD 16"
	groupCommit  = "4 KiB random write FUA, QD 16, ext4"
	plainRandom  = "4 KiB random read, QD 32, own load"
	digestRandom = "4 KiB random read, QD 32, digests"
	plainStream  = "256 KiB sequential read, QD 16, own load"
	digestStream = "256 KiB sequential read, QD 16, digests"
)

// cases are in the order of the table.
func cases() []benchCase {
	const k, m = 1 << 10, 1 << 20
	return []benchCase{
		{randomRead, tmpfs, iscsiPerf{depth: 32, size: 4 * k, random: true}, 2, 3},
		{"4 KiB random read, QD 128", tmpfs, iscsiPerf{depth: 128, size: 4 * k, random: true}, 0, 0},
		{"4 KiB random read, QD 1", tmpfs, iscsiPerf{depth: 1, size: 4 * k, random: true}, 1, 1.3},
		{"4 KiB random read, QD 32, RAM", ram, iscsiPerf{depth: 32, size: 4 * k, random: true}, 2, 3},
		{"4 KiB random write, QD 32", tmpfs, ownLoad{depth: 32, size: 4 * k, random: true, writes: 100}, 1.5, 2.5},
		{"4 KiB sequential write, QD 32", tmpfs, qemuBench{depth: 32, size: 4 * k, write: true}, 1.5, 2.5},
		{"4 KiB sequential read, QD 32", tmpfs, qemuBench{depth: 32, size: 4 * k}, 2, 3},
		{streamRead, tmpfs, iscsiPerf{depth: 16, size: 256 * k}, 1.2, 2},
		{"256 KiB sequential write, QD 16", tmpfs, qemuBench{depth: 16, size: 256 * k, write: true}, 1.3, 2},
		{"1 MiB sequential write, QD 8", tmpfs, ownLoad{depth: 8, size: m, writes: 100}, 0, 0},
		{"mix of 70 % reads, 8 KiB, QD 16", tmpfs, ownLoad{depth: 16, size: 8 * k, random: true, writes: 30}, 0, 0},
		{"64 sessions, 4 KiB random read, QD 4", tmpfs, ownLoad{sessions: 64, depth: 4, size: 4 * k, random: true}, 2, 3},
		{plainRandom, tmpfs, ownLoad{depth: 32, size: 4 * k, random: true}, 0, 0},
		{digestRandom, tmpfs, ownLoad{depth: 32, size: 4 * k, random: true, digests: true}, 0, 0},
		{plainStream, tmpfs, ownLoad{depth: 16, size: 256 * k}, 0, 0},
		{digestStream, tmpfs, ownLoad{depth: 16, size: 256 * k, digests: true}, 0, 0},
		{"4 KiB random read, QD 1, ext4", ext4, ownLoad{depth: 1, size: 4 * k, random: true}, 0, 0},
		{"4 KiB random read, QD 32, ext4", ext4, ownLoad{depth: 32, size: 4 * k, random: true}, 0, 0},
		{"4 KiB random write, QD 32, ext4", ext4, ownLoad{depth: 32, size: 4 * k, random: true, writes: 100}, 0, 0},
		{"256 KiB sequential read, QD 16, ext4", ext4, ownLoad{depth: 16, size: 256 * k}, 0, 0},
		{groupCommit, ext4, ownLoad{depth: 16, size: 4 * k, random: true, writes: 100, fua: true}, 2, 5},
		{"4 KiB write and flush, QD 16, ext4", ext4, ownLoad{depth: 16, size: 4 * k, random: true, writes: 100, flush: 1}, 2, 5},
		{"4 KiB sequential write, flushed every 16, ext4", ext4, qemuBench{depth: 16, size: 4 * k, write: true, flush: 16}, 0, 0},
		{"4 KiB random read, QD 32, page cache", cached, ownLoad{depth: 32, size: 4 * k, random: true}, 0, 0},
		{"4 KiB random write, QD 32, page cache", cached, ownLoad{depth: 32, size: 4 * k, random: true, writes: 100}, 0, 0},
		{"4 KiB random write FUA, QD 16, page cache", cached, ownLoad{depth: 16, size: 4 * k, random: true, writes: 100, fua: true}, 0, 0},
	}
}
