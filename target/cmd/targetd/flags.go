package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"sanstick/target"
	"sanstick/target/scsi"
)

// options are what the command line says.
type options struct {
	config  string // a file that setup is from; empty = setup is from flags
	profile string // where a CPU profile goes; empty = none is made
	setup   *setup
}

// parseFlags reads the command line, and the configuration file if it names
// one. flag.ErrHelp means that help was asked for.
func parseFlags(args []string) (*options, error) {
	o, s, t := &options{}, &setup{}, &targetSpec{}
	serial := ""
	fs := flag.NewFlagSet("targetd", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.StringVar(&o.config, "config", "", "")
	fs.StringVar(&t.iqn, "iqn", defaultIQN, "")
	fs.StringVar(&serial, "serial", "", "")
	fs.StringVar(&s.state, "state", "", "")
	fs.StringVar(&o.profile, "profile", "", "")
	fs.Func("listen", "", func(a string) error { s.portals = append(s.portals, portal{address: a, group: 1}); return nil })
	fs.Func("advertise", "", func(a string) error { s.advertise = append(s.advertise, a); return checkAddress(a) })
	fs.Func("initiator", "", func(n string) error { t.initiators = append(t.initiators, n); return nil })
	fs.Func("lun", "", func(v string) error {
		l, err := parseLUN(v)
		if err == nil && slices.ContainsFunc(t.luns, func(have lun) bool { return have.number == l.number }) {
			err = fmt.Errorf("LUN %d is there twice", l.number)
		}
		t.luns = append(t.luns, l)
		return err
	})
	fs.Func("chap", "", func(v string) (err error) { t.chap, err = parseCHAP(v); return err })
	fs.Func("limit", "", func(v string) (err error) { t.limit, err = parseLimit(v); return err })
	fs.Func("mutual", "", func(v string) (err error) { t.mutual, err = parseCHAP(v); return err })
	if err := fs.Parse(args); err != nil {
		return nil, hideSecrets(err, args)
	}
	switch {
	case fs.NArg() > 0:
		return nil, fmt.Errorf("don't know what to do with %q", fs.Arg(0))
	case o.config != "" && (fs.NFlag() > 2 || fs.NFlag() > 1 && o.profile == ""):
		return nil, errors.New("--config takes the place of all other flags: put what they say into the file")
	case o.config != "":
		var err error
		o.setup, err = readConfig(o.config)
		return o, err
	case len(t.luns) == 0:
		return nil, errors.New("neither --lun nor --config: nothing to serve")
	}
	if len(s.portals) == 0 {
		s.portals = []portal{{address: defaultListen, group: 1}}
	}
	if len(t.initiators) == 0 {
		t.initiators = []string{"*"}
	}
	t.identify(serial)
	s.targets = []targetSpec{*t}
	o.setup = s
	return o, s.check()
}

// identify gives the LUNs of flags their serial numbers.
func (t *targetSpec) identify(serial string) {
	for i := range t.luns {
		l := &t.luns[i]
		switch {
		case serial == "":
			l.serial = scsi.SerialFromUUID(fmt.Sprintf("%s\x00%s\x00%d\x00%s", hostName(), t.iqn, l.number, l.path))
		case len(t.luns) > 1:
			l.serial = fmt.Sprintf("%s-%d", serial, l.number)
		default:
			l.serial = serial
		}
	}
}

// parseLUN reads N=PATH[,OPTION...].
func parseLUN(s string) (lun, error) {
	number, rest, ok := strings.Cut(s, "=")
	n, err := strconv.ParseUint(number, 10, 14)
	if !ok || err != nil {
		return lun{}, fmt.Errorf("want N=PATH, with N from 0 to %d", scsi.MaxLUN)
	}
	fields := strings.Split(rest, ",")
	l := lun{number: uint16(n), path: fields[0]}
	if l.path == "" {
		return lun{}, errors.New("want a file, a block device or mem:SIZE after the =")
	}
	for _, f := range fields[1:] {
		key, value, hasValue := strings.Cut(f, "=")
		if hasValue && value == "" {
			value = "?"
		}
		if err := l.set(key, value); err != nil {
			return lun{}, err
		}
	}
	return l, nil
}

func parseCHAP(s string) (*target.CHAP, error) {
	user, secret, ok := strings.Cut(s, ":")
	if !ok || user == "" || len(secret) < minSecret || len(secret) > maxSecret {
		return nil, fmt.Errorf("want USER:SECRET, with a secret of %d to %d bytes", minSecret, maxSecret)
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
