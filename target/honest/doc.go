// Package honest has tests only: they prove that what the target calls durable
// is on the disk, for each way in which targetd can open one.
//
// The disk is a loop device on a FUSE export of QEMU's, which logs every write,
// discard and flush in the order in which they are done:
//
//	targetd ── block device ─────────────── /dev/loopN ── FUSE ── qemu-storage-daemon ── log
//	targetd ── file, buffered or direct ── ext4 ── /dev/loopN ── FUSE ── ...
//
// When a command is answered, the size of the log is noted. Afterwards the disk
// is rebuilt as a power cut at that moment would have left it: with all that
// came before the last flush, and none or some of what came after. An ext4 on
// it is mounted, and so recovers. What was promised must be there.
//
// The same checks run against devices that lie; they must be caught.
//
// All of it happens in a mount namespace that ends with the tests, however they
// end. With -long there are more crashes after each answer, and each kind of file
// is tested both sparse and full.
package honest
