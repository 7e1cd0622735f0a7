package main

const defaultIQN = "iqn.2006-12.localhost:targetd"

const usage = `targetd serves disks over iSCSI until Ctrl-C.

  targetd --lun 0=disk.img                          a file, to anyone on this machine
  targetd --lun 0=mem:1GiB --lun 1=/dev/sdb,ro      RAM, and a disk that can't be written
  targetd --lun 0=disk.img --listen 10.0.0.1:3260 --listen [fd00::1]:3260 \
      --initiator iqn.1998-01.com.vmware:esx1 --chap esx1:a-secret-of-12-bytes
  targetd --config targetd.toml                     several targets, and changes while it runs

  --lun N=PATH[,OPTION...]   a logical unit (repeatable, at least one). PATH is a file,
                             a block device, or mem:SIZE (RAM, gone at the end). Options:
                               ro         refuse writes
                               bs=4096    logical block size, 512 or 4096
                               pbs=4096   physical block size
                               thin       offer UNMAP
                               direct     a file without the page cache (O_DIRECT)
                               removable  the medium can be ejected
                               cd         a CD or DVD: read-only, removable
  --listen ADDR              address:port (repeatable; default 127.0.0.1:3260)
  --advertise ADDR           address:port that initiators are told in discovery
                             (repeatable; default the one that they have come to)
  --iqn NAME                 name of the target (default iqn.2006-12.localhost:targetd)
  --initiator IQN            who may log in (repeatable; default anyone)
  --chap USER:SECRET         what initiators must prove to know, 12 to 255 bytes
  --mutual USER:SECRET       what the target proves to initiators that ask
  --limit iops=N,mbps=N      what all initiators together may have done in a second:
                             commands (10 at least) and megabytes (1 at least), or one
                             of the two. What is more waits
  --serial S                 serial number; with several units S-N. The NAA follows
                             from it. Default: made from the name, N and PATH, so it
                             stays the same from run to run
  --state DIR                keep the persistent reservations that are to outlive a
                             power cut (APTPL) in files of this directory, which is
                             made if need be. Default: initiators are told that
                             none do
  --config FILE              read all of that from a file; no other flag but --profile
                             goes with it
  --profile FILE             write a CPU profile at the end, for go tool pprof
  --help                     this text

Secrets on a command line can be read by other users of this machine.

A configuration file is TOML. All of it:

  listen = ["10.0.0.1:3260", "[fd00::1]:3260"]  # default ["127.0.0.1:3260"]
  advertise = ["203.0.113.5:3260"]              # as --advertise
  state = "/var/lib/targetd"                    # as --state

  [[portal]]                                    # listens too; for other portal groups
  address = "10.0.1.1:3260"
  group = 2                                     # default 1, which that of listen is
  advertise = ["203.0.113.6:3260"]              # for this portal alone

  [[target]]
  iqn = "iqn.2026-01.org.example:one"
  alias = "for people"
  initiators = ["iqn.1998-01.com.vmware:esx1"]  # ["*"] is anyone, [] is nobody
  chap = { user = "esx1", secret = "a-secret-of-12-bytes" }
  mutual = { user = "san", secret = "another-of-12-bytes" }
  limit = { iops = 500, mbps = 20 }             # as --limit
  groups = [1, 2]                               # default all there are
  # redirect = { address = "10.0.2.1:3260", permanent = false }

    [[target.lun]]
    number = 0
    path = "disk.img"  # a relative path counts from the file's directory
    serial = "S1"      # default: made from the path; RAM: from iqn and number
    ro = false         # ro, thin, direct, removable, cd, bs, pbs: as in --lun
    thin = true
    bs = 4096

    [[target.lun]]
    number = 1
    path = "mem:1GiB"

The same path, or the same mem:SIZE with the same serial, in several targets is one
disk with several ways to it. A key that isn't known, or a wrong value, is an error.
A file with secrets must not be readable by all, and no file writable by all.

On SIGHUP the file is read again. If anything in it is wrong, or a new disk can't be
opened, that is logged and nothing changes. Else targets and LUNs come and go, and
sessions stay: only those with a target that was removed are ended, and those of an
initiator that was taken out of initiators. New secrets count from the next login, new
limits at once.
A disk that is no more in the file is closed when the commands on it have come back.
mem:SIZE may grow; files and block devices that have grown are seen by themselves,
within a second. A disk becomes read-only while it is used, and writable again, unless
it was read-only when it was opened. Other changes to a disk take it away for a moment
and bring it back. listen, portal, advertise and state are read at the start only.

Try it:
  iscsi-ls -s iscsi://127.0.0.1:3260
  qemu-img convert -n -O raw disk.img iscsi://127.0.0.1:3260/iqn.2006-12.localhost:targetd/0
  qemu-img bench -n -d 32 -c 100000 iscsi://127.0.0.1:3260/iqn.2006-12.localhost:targetd/0
`
