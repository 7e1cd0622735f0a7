package coldplug

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sanstick/appliance/sys"
)

// Aliases returns the modaliases of all devices that are there, sorted,
// without repeats: what their uevents said when they appeared. sysfs is where
// sysfs is mounted. Devices that vanish meanwhile are no error.
func Aliases(sysfs string) ([]string, error) {
	seen := make(map[string]bool)
	root := filepath.Join(sysfs, "devices")
	err := walk(root, func(dir string) error {
		b, err := os.ReadFile(filepath.Join(dir, "modalias"))
		if err != nil {
			return nil // gone, or the bus can't tell
		}
		if a := strings.TrimSpace(string(b)); a != "" {
			seen[a] = true
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot look for devices: %w", err)
	}
	all := make([]string, 0, len(seen))
	for a := range seen {
		all = append(all, a)
	}
	slices.Sort(all)
	return all, nil
}

// CPUAlias returns the modalias of the CPU, empty if it isn't known.
func CPUAlias(sysfs string) string {
	b, _ := os.ReadFile(filepath.Join(sysfs, "devices", "system", "cpu", "modalias"))
	return strings.TrimSpace(string(b))
}

// walk calls found for each directory below dir that has a modalias file.
func walk(dir string, found func(dir string) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		switch {
		case e.IsDir():
			err = walk(filepath.Join(dir, e.Name()), found)
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
		case e.Name() == "modalias":
			err = found(dir)
		default:
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// wanted returns the modalias of an event that may need a driver, or "".
func wanted(e sys.Uevent) string {
	if e.Action != "add" {
		return ""
	}
	return e.Env["MODALIAS"]
}
