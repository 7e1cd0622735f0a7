package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"sanstick/target"
	"sanstick/target/scsi"
)

// maxConfig is the largest configuration file, in bytes.
const maxConfig = 1 << 20

// readConfig reads a configuration file. If it is an error, all that is wrong
// is in it, each with file, line and key.
func readConfig(path string) (*setup, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	doc, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("cannot read the configuration: %w", err)
	}
	if len(doc) > maxConfig {
		return nil, fmt.Errorf("%s: longer than %d bytes", path, maxConfig)
	}
	s, err := parseConfig(path, string(doc))
	if err != nil {
		return nil, err
	}
	switch mode := st.Mode().Perm(); {
	case mode&0o002 != 0:
		return nil, fmt.Errorf("%s: mode %04o lets anyone write to it: chmod 600 it", path, mode)
	case mode&0o004 != 0 && s.secret():
		return nil, fmt.Errorf("%s: it has secrets, and mode %04o lets anyone read them: chmod 600 it", path, mode)
	}
	return s, nil
}

// parseConfig reads the text of a configuration file. Relative paths in it
// count from the directory of the file.
func parseConfig(file, doc string) (*setup, error) {
	values := make(map[string]any)
	if _, err := toml.Decode(doc, &values); err != nil {
		var bad toml.ParseError
		if errors.As(err, &bad) {
			return nil, fmt.Errorf("%s:%d: %s: %s", file, bad.Position.Line, orTop(bad.LastKey), whatIsWrong(doc, bad))
		}
		return nil, fmt.Errorf("%s: not TOML", file)
	}
	d := &document{file: file, lines: keyLines(doc)}
	s := d.setup(&table{d: d, values: values})
	if err := d.err(); err != nil {
		return nil, err
	}
	return s, nil
}

// whatIsWrong is the message of an error, which quotes what the decoder did not
// understand, unless that may be a secret.
func whatIsWrong(doc string, e toml.ParseError) string {
	lines := strings.Split(doc, "\n")
	from, to := max(e.Position.Line-2, 0), min(e.Position.Line+1, len(lines))
	if from >= to || strings.Contains(strings.ToLower(strings.Join(lines[from:to], "\n")), "secret") {
		return "not TOML"
	}
	return e.Message
}

func orTop(key string) string {
	if key == "" {
		return "top"
	}
	return key
}

func (d *document) setup(t *table) *setup {
	s := &setup{}
	for _, a := range t.addresses("listen") {
		s.portals = append(s.portals, portal{address: a, group: 1})
	}
	for _, p := range t.tables("portal") {
		s.portals = append(s.portals, d.portal(p))
	}
	s.advertise = t.addresses("advertise")
	if len(s.portals) == 0 {
		s.portals = []portal{{address: defaultListen, group: 1}}
	}
	for _, tt := range t.tables("target") {
		spec := d.target(tt)
		for _, have := range s.targets {
			if strings.EqualFold(have.iqn, spec.iqn) {
				d.fail(tt.at("iqn"), "%s is there twice", spec.iqn)
			}
		}
		s.targets = append(s.targets, spec)
	}
	if len(s.targets) == 0 {
		d.fail("target", "nothing to serve: write a [[target]]")
	}
	if s.state = t.text("state"); s.state != "" && !filepath.IsAbs(s.state) {
		s.state = filepath.Join(filepath.Dir(d.file), s.state)
	}
	t.end("listen, portal, advertise, state, target")
	s.conflicts(d.fail)
	s.groups(d.fail)
	return s
}

func checkAddress(a string) error {
	_, port, err := net.SplitHostPort(a)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("%q is not ADDRESS:PORT (IPv6 in brackets)", a)
	}
	return nil
}

func (d *document) target(t *table) targetSpec {
	spec := targetSpec{iqn: t.text("iqn"), alias: t.text("alias")}
	var has bool
	if spec.initiators, has = t.texts("initiators"); !has {
		d.fail(t.at("initiators"), `say who may log in; ["*"] is anyone`)
	}
	for _, l := range t.tables("lun") {
		luns := d.lun(l, spec.iqn)
		if slices.ContainsFunc(spec.luns, func(have lun) bool { return have.number == luns.number }) {
			d.fail(l.at("number"), "LUN %d is there twice", luns.number)
		}
		spec.luns = append(spec.luns, luns)
	}
	wrong := len(d.errs)
	spec.groups, spec.redirect = t.groups("groups"), d.redirect(t.table("redirect"))
	spec.chap, spec.mutual = d.chap(t.table("chap")), d.chap(t.table("mutual"))
	spec.limit = d.limit(t.table("limit"))
	if spec.iqn == "" {
		d.fail(t.at("iqn"), "the target needs a name")
	} else if err := spec.config(nil).Check(); err != nil && wrong == len(d.errs) {
		d.fail(t.path, "%v", err)
	}
	t.end("iqn, alias, initiators, chap, mutual, limit, groups, redirect, lun")
	return spec
}

func (d *document) chap(t *table) *target.CHAP {
	if t == nil {
		return nil
	}
	c := &target.CHAP{User: t.text("user"), Secret: t.text("secret")}
	if c.User == "" {
		d.fail(t.at("user"), "must not be empty")
	}
	if n := len(c.Secret); n < minSecret || n > maxSecret {
		d.fail(t.at("secret"), "must have %d to %d bytes", minSecret, maxSecret)
	}
	t.end("user, secret")
	return c
}

func (d *document) lun(t *table, iqn string) lun {
	l := lun{path: t.text("path"), serial: t.text("serial")}
	number, ok := t.take("number")
	if n, isInt := number.(int64); !ok {
		d.fail(t.at("number"), "the LUN needs one")
	} else if !isInt || n < 0 || n > scsi.MaxLUN {
		d.fail(t.at("number"), "must be 0 to %d", scsi.MaxLUN)
	} else {
		l.number = uint16(n)
	}
	for _, key := range slices.Sorted(maps.Keys(t.values)) {
		value := ""
		switch v := t.values[key].(type) {
		case int64:
			value = strconv.FormatInt(v, 10)
		case string:
			if value = v; v == "" {
				value = "?"
			}
		case bool:
			if !v {
				value = "no"
			}
		default:
			value = "?"
		}
		t.take(key)
		if err := l.set(key, value); err != nil {
			d.fail(t.at(key), "%v", err)
		}
	}
	if l.path == "" {
		d.fail(t.at("path"), "the LUN needs one: a file, a block device or mem:SIZE")
	} else if err := l.resolve(filepath.Dir(d.file)); err != nil {
		d.fail(t.at("path"), "%v", err)
	}
	l.identify(iqn)
	return l
}
