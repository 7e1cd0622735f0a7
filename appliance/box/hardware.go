package box

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"sanstick/appliance/api"
	"sanstick/appliance/hardware"
)

// hardwareName is the report's file on the stick.
const hardwareName = "hardware.txt"

func (b *box) hardwareActions() []api.Action {
	return []api.Action{api.Hardware.Handle(b.reportHardware)}
}

// reportHardware lists the machine's devices, and saves that if it is wanted.
func (b *box) reportHardware(_ context.Context, q api.HardwareRequest, _ func(api.Progress)) (api.HardwareAnswer, error) {
	all, err := hardware.Collect(b.o.SysDir)
	if err != nil {
		return api.HardwareAnswer{}, err
	}
	about := "sanstick " + b.o.Version
	if release, err := os.ReadFile(filepath.Join(b.o.ProcDir, "sys/kernel/osrelease")); err == nil {
		about += ", Linux " + strings.TrimSpace(string(release))
	}
	a := api.HardwareAnswer{Report: string(hardware.Format(all, about))}
	if !q.Save {
		return a, nil
	}
	if b.stick == nil {
		return a, &api.Error{Message: "the report can't be saved: the stick isn't here", Do: "plug it in"}
	}
	a.File = filepath.Join(b.o.StickDir, hardwareName)
	err = b.stick.write(func() error {
		return renameio.WriteFile(a.File, []byte(a.Report), 0o600, renameio.WithTempDir(b.o.StickDir))
	})
	if err != nil {
		return a, fmt.Errorf("cannot save the report on the stick: %w", err)
	}
	return a, nil
}
