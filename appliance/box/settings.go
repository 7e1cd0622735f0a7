package box

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/appliance/config"
	"sanstick/appliance/status"
)

// Files on the stick's SANSTICK partition.
const (
	configName   = "appliance.toml"
	lastGoodName = "sanstick/last-good.toml" // see lastGood
)

// lastGood is where the newest appliance.toml of a schema lies that was free of
// errors. Each schema has its own: a version that doesn't know a newer one, and
// is gone back to, finds what it was served by.
func lastGood(schema int) string {
	if schema == 1 {
		return lastGoodName
	}
	return fmt.Sprintf("sanstick/last-good.%d.toml", schema)
}

// Values of status.Config.InForce.
const (
	inForceFile     = "file"
	inForceLastGood = "last-good"
	inForceDefaults = "defaults" // those that are built in, without any file
	inForceNone     = "none"
)

// settings is the configuration that the appliance runs with, and how it came
// to it.
type settings struct {
	config *config.Config // never nil: empty if nothing usable was found
	status status.Config
	// trusted says that config is what the user's file says now. If it isn't,
	// disks are activated but nothing is made or grown on them.
	trusted bool
	// remember holds the file's bytes if they are to become the last good
	// ones, else nil.
	remember []byte
	file     []byte // what the configuration was read from, if it is the user's own
	sum      string // of the bytes that config was read from; empty: of none
}

// sumOf tells one file from another.
func sumOf(file []byte) string { return fmt.Sprintf("%x", sha256.Sum256(file)) }

// readSettings reads the configuration in dir, the mounted SANSTICK partition.
// It never fails: a box with a bad file still boots, serves what it served
// before, and says what is wrong.
func readSettings(dir string) settings {
	path := filepath.Join(dir, configName)
	file, fileErr := readBounded(path)
	good, goodErr := readGood(dir, config.Newest)
	return decide(path, file, fileErr, good, goodErr)
}

// decide picks the configuration to run with: the file if it is free of
// errors, else the last one that was, else none.
func decide(path string, file []byte, fileErr error, good []byte, goodErr error) settings {
	s := settings{config: noConfig(), status: status.Config{Path: path, InForce: inForceNone}}
	if fileErr != nil {
		s.status.Errors = []string{fmt.Sprintf("cannot read the configuration: %v", fileErr)}
	} else if c, err := config.Parse(configName, file); err != nil {
		s.status.Errors = messages(err)
	} else {
		s.config, s.trusted, s.file, s.sum = c, true, file, sumOf(file)
		s.status.InForce = inForceFile
		s.status.Warnings = c.Warnings()
		if goodErr != nil || !bytes.Equal(file, good) {
			s.remember = file
		}
		return s
	}
	if goodErr != nil {
		return s
	}
	if c, err := config.Parse(lastGoodName, good); err == nil {
		s.config, s.sum = c, sumOf(good)
		s.status.InForce = inForceLastGood
		s.status.Warnings = c.Warnings()
	}
	return s
}

// startedFromISO tells whether the system was started from a CD or from an ISO image on a stick: then GRUB has said so on
// the kernel's command line.
func startedFromISO(procDir string) bool {
	cmdline, err := os.ReadFile(filepath.Join(procDir, "cmdline"))
	return err == nil && slices.Contains(strings.Fields(string(cmdline)), "media=iso")
}

// keepsConfig tells whether there is a configuration in dir.
func keepsConfig(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, configName))
	return err == nil
}

// memoryWarning is said while a stick in memory is in use.
const memoryWarning = "started from a CD, and no volume labelled " + stickLabel + " is attached: " +
	"the configuration is kept in memory, and on the disks of its pools"

// builtIn is what a system from a CD runs with when no configuration is attached. One that the disks keep is adopted at
// once: nothing is lost by that.
func builtIn() settings {
	c, err := config.Parse(configName, config.Default())
	if err != nil {
		panic("box: the default configuration has errors: " + err.Error())
	}
	c.Adopt = true
	return settings{config: c, trusted: true, status: status.Config{InForce: inForceDefaults, Warnings: append(c.Warnings(),
		"the built-in defaults are in force. A volume labelled "+stickLabel+" with "+configName+" on it is used as soon as it is attached, "+
			"and what the disks of a pool keep as soon as they all are here")}}
}

// noConfig is what an empty file says: nothing is served, the defaults hold.
func noConfig() *config.Config {
	c, err := config.Parse(configName, nil)
	if err != nil {
		panic("box: an empty configuration has errors: " + err.Error())
	}
	return c
}

// messages lists what is wrong, an entry for each error.
func messages(err error) []string {
	var list config.Errors
	if !errors.As(err, &list) {
		return []string{err.Error()}
	}
	return list.Strings()
}

// readGood reads the last good configuration of the newest schema that is
// there, up to newest.
func readGood(dir string, newest int) ([]byte, error) {
	for schema := newest; ; schema-- {
		data, err := readBounded(filepath.Join(dir, lastGood(schema)))
		if schema <= config.Oldest || !errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
}

// keep makes what is to be remembered the last good configuration.
func (s settings) keep(dir string) error {
	return rememberGood(dir, s.remember, s.config.Schema(), config.Newest)
}

// rememberGood keeps data in dir as the last good configuration of its schema,
// so that it survives a power cut at any moment: the old one or the new one is
// there. Those of newer schemas, up to newest, are out of date then.
func rememberGood(dir string, data []byte, schema, newest int) error {
	for ; newest > schema; newest-- {
		if err := removeFile(filepath.Join(dir, lastGood(newest))); err != nil {
			return fmt.Errorf("cannot remove a configuration that is out of date: %w", err)
		}
	}
	if err := replaceFile(filepath.Join(dir, lastGood(schema)), data); err != nil {
		return fmt.Errorf("cannot keep the last good configuration: %w", err)
	}
	return nil
}

// readBounded reads a file that a configuration can be: regular, of bounded
// size.
func readBounded(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "read", Path: path, Err: errors.New("is not a regular file")}
	}
	if st.Size() > config.MaxFile {
		return nil, &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("is %d bytes long, more than %d", st.Size(), config.MaxFile)}
	}
	return os.ReadFile(path)
}
