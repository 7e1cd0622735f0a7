package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/renameio/v2"
)

// probeTime is how long a kernel may take to boot under KVM. It takes about one second where KVM works.
const probeTime = 10 * time.Second

// A Probe finds out whether KVM really works here. The device /dev/kvm is not proof: in some virtual machines it is
// there and hangs.
type Probe struct {
	Kernel, Initrd string // boot these; the initramfs must have /bbin/true
	CacheFile      string // remember the answer here, until the host reboots or the kernel changes
}

// A Choice is an accelerator and why it was chosen.
type Choice struct {
	Accel  Accel  `json:"accel"`
	Reason string `json:"reason"`
}

// Choose picks an accelerator: the one that want names ("kvm", "tcg"), or for "auto" and "" KVM if it passes the probe
// and TCG otherwise. say is called before a probe that takes time.
func Choose(ctx context.Context, want string, p Probe, say func(string)) (Choice, error) {
	switch want {
	case string(KVM), string(TCG):
		return Choice{Accel(want), "as asked"}, nil
	case "", "auto":
	default:
		return Choice{}, fmt.Errorf("cannot use accelerator %q: want auto, %s or %s", want, KVM, TCG)
	}
	if p.Kernel == "" || p.Initrd == "" {
		return Choice{TCG, "there is no built kernel to try KVM with"}, nil
	}
	f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return Choice{TCG, "KVM cannot be used: " + err.Error()}, nil
	}
	if err := f.Close(); err != nil {
		return Choice{}, fmt.Errorf("cannot close /dev/kvm: %w", err)
	}
	key := p.key()
	if c, ok := p.remembered(key); ok {
		return c, nil
	}
	say(fmt.Sprintf("trying whether a kernel boots under KVM (at most %.0f s; the answer is remembered)", probeTime.Seconds()))
	c := p.run(ctx)
	if err := ctx.Err(); err != nil {
		return Choice{}, err
	}
	return c, p.remember(key, c)
}

// run boots a stock kernel under KVM with /bbin/true as its first process. The kernel panics when that has ended, and
// says so: then kernel and user mode have both run.
func (p Probe) run(ctx context.Context) Choice {
	vm, err := Start(ctx, Options{Accel: KVM, MemoryMiB: 512, CPUs: 2, NoReboot: true, Kernel: p.Kernel, Initrd: p.Initrd,
		Append: "console=ttyS0 panic=-1 rdinit=/bbin/true"})
	if err != nil {
		return Choice{TCG, "KVM does not work here: " + err.Error()}
	}
	wait, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	_, err = vm.WaitSerial(wait, regexp.MustCompile(`Attempted to kill init! exitcode=0x00000000`))
	vm.Kill()
	switch {
	case err == nil:
		return Choice{KVM, "a kernel boots under KVM"}
	case errors.Is(err, context.DeadlineExceeded):
		return Choice{TCG, fmt.Sprintf("KVM does not work here: a kernel did not boot within %.0f s", probeTime.Seconds())}
	}
	if err := vm.Wait(); err != nil {
		first, _, _ := strings.Cut(err.Error(), "\n")
		return Choice{TCG, "KVM does not work here: " + first}
	}
	return Choice{TCG, "KVM does not work here: the kernel stopped early"}
}

// key names the host's uptime and the kernel: what an answer depends on.
func (p Probe) key() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "" // never remembered
	}
	return strings.TrimSpace(string(boot)) + " " + filepath.Base(p.Kernel)
}

type rememberedChoice struct {
	Key string `json:"key"`
	Choice
}

func (p Probe) remembered(key string) (Choice, bool) {
	data, err := os.ReadFile(p.CacheFile)
	if err != nil || key == "" {
		return Choice{}, false
	}
	var r rememberedChoice
	if json.Unmarshal(data, &r) != nil || r.Key != key || (r.Accel != KVM && r.Accel != TCG) {
		return Choice{}, false
	}
	return r.Choice, true
}

func (p Probe) remember(key string, c Choice) error {
	data, err := json.MarshalIndent(rememberedChoice{key, c}, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot remember the accelerator: %w", err)
	}
	if err := renameio.WriteFile(p.CacheFile, append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot remember the accelerator: %w", err)
	}
	return nil
}
