package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"sanstick/target"
	"sanstick/target/block/backing"
)

const usage = `targetd serves disks over iSCSI until Ctrl-C.

  targetd --lun 0=disk.img                          a file, to anyone on this machine
  targetd --lun 0=mem:1GiB --lun 1=/dev/sdb,ro      RAM, and a disk that can't be written
  targetd --lun 0=disk.img --listen 10.0.0.1:3260 --listen [fd00::1]:3260 \
      --initiator iqn.1998-01.com.vmware:esx1 --chap esx1:a-secret-of-12-bytes

  --lun N=PATH[,OPTION...]   a logical unit (repeatable, at least one). PATH is a file,
                             a block device, or mem:SIZE (RAM, gone at the end). Options:
                               ro         refuse writes
                               bs=4096    logical block size, 512 or 4096
                               pbs=4096   physical block size
                               thin       offer UNMAP
                               removable  say so in INQUIRY
  --listen ADDR              address:port (repeatable; default 127.0.0.1:3260)
  --iqn NAME                 name of the target (default iqn.2006-12.localhost:targetd)
  --initiator IQN            who may log in (repeatable; default anyone)
  --chap USER:SECRET         what initiators must prove to know, 12 to 255 bytes
  --mutual USER:SECRET       what the target proves to initiators that ask
  --serial S                 serial number; with several units S-N. The NAA follows
                             from it. Default: made from the name, N and PATH, so it
                             stays the same from run to run
  --help                     this text

Secrets on a command line can be read by other users of this machine.

Try it:
  iscsi-ls -s iscsi://127.0.0.1:3260
  qemu-img convert -n -O raw disk.img iscsi://127.0.0.1:3260/iqn.2006-12.localhost:targetd/0
  qemu-img bench -n -d 32 -c 100000 iscsi://127.0.0.1:3260/iqn.2006-12.localhost:targetd/0
`

const defaultIQN = "iqn.2006-12.localhost:targetd"

type options struct {
	listen       []string
	iqn          string
	luns         []lun
	initiators   []string
	chap, mutual *target.CHAP
	serial       string
}

// lun is one --lun.
type lun struct {
	number          uint16
	path            string
	device          backing.Options
	thin, removable bool
}

// parseFlags reads the command line. flag.ErrHelp means that help was asked
// for.
func parseFlags(args []string) (*options, error) {
	o := &options{}
	fs := flag.NewFlagSet("targetd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.iqn, "iqn", defaultIQN, "")
	fs.StringVar(&o.serial, "serial", "", "")
	fs.Func("listen", "", func(s string) error { o.listen = append(o.listen, s); return nil })
	fs.Func("initiator", "", func(s string) error { o.initiators = append(o.initiators, s); return nil })
	fs.Func("lun", "", func(s string) error {
		l, err := parseLUN(s)
		for _, have := range o.luns {
			if err == nil && have.number == l.number {
				err = fmt.Errorf("LUN %d is there twice", l.number)
			}
		}
		o.luns = append(o.luns, l)
		return err
	})
	fs.Func("chap", "", func(s string) (err error) { o.chap, err = parseCHAP(s); return err })
	fs.Func("mutual", "", func(s string) (err error) { o.mutual, err = parseCHAP(s); return err })
	if err := fs.Parse(args); err != nil {
		return nil, hideSecrets(err, args)
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("don't know what to do with %q", fs.Arg(0))
	case len(o.luns) == 0:
		return nil, errors.New("no --lun: nothing to serve")
	}
	if len(o.listen) == 0 {
		o.listen = []string{"127.0.0.1:3260"}
	}
	if len(o.initiators) == 0 {
		o.initiators = []string{"*"}
	}
	return o, nil
}

// parseLUN reads N=PATH[,OPTION...].
func parseLUN(s string) (lun, error) {
	number, rest, ok := strings.Cut(s, "=")
	n, err := strconv.ParseUint(number, 10, 14)
	if !ok || err != nil {
		return lun{}, errors.New("want N=PATH, with N from 0 to 16383")
	}
	fields := strings.Split(rest, ",")
	l := lun{number: uint16(n), path: fields[0]}
	if l.path == "" {
		return lun{}, errors.New("want a file, a block device or mem:SIZE after the =")
	}
	for _, f := range fields[1:] {
		key, value, _ := strings.Cut(f, "=")
		switch key {
		case "ro":
			l.device.ReadOnly = true
		case "thin":
			l.thin = true
		case "removable":
			l.removable = true
		case "bs", "pbs":
			size, err := strconv.Atoi(value)
			if err != nil || size < 512 || size > 1<<20 || size&(size-1) != 0 {
				return lun{}, fmt.Errorf("%s must be a power of two from 512, such as 4096", key)
			}
			if key == "bs" {
				l.device.LogicalBlock = size
			} else {
				l.device.PhysicalBlock = size
			}
		default:
			return lun{}, fmt.Errorf("option %q is none of ro, thin, removable, bs=, pbs=", f)
		}
	}
	return l, nil
}

func parseCHAP(s string) (*target.CHAP, error) {
	user, secret, ok := strings.Cut(s, ":")
	if !ok || user == "" || len(secret) < 12 || len(secret) > 255 {
		return nil, errors.New("want USER:SECRET, with a secret of 12 to 255 bytes")
	}
	return &target.CHAP{User: user, Secret: secret}, nil
}

// hideSecrets keeps what was given for CHAP out of an error of package flag,
// which repeats the value.
func hideSecrets(err error, args []string) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	msg := err.Error()
	for i, a := range args {
		name, value, hasValue := strings.Cut(strings.TrimLeft(a, "-"), "=")
		if name != "chap" && name != "mutual" {
			continue
		}
		if !hasValue && i+1 < len(args) {
			value = args[i+1]
		}
		if value != "" {
			msg = strings.ReplaceAll(msg, strconv.Quote(value), "what is given")
		}
	}
	return errors.New(msg)
}

// hostSerial is what a unit's identity is made from when --serial isn't given.
func hostSerial(o *options, l lun) string {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	return fmt.Sprintf("%s\x00%s\x00%d\x00%s", host, o.iqn, l.number, l.path)
}
