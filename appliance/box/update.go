package box

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"sanstick/appliance/api"
	"sanstick/appliance/disk/transfer"
	"sanstick/appliance/status"
	"sanstick/appliance/update"
)

// updateName is the file on the stick with what is known of the newest update.
const updateName = "sanstick/update.json"

// maxAbout bounds the files that tell what this version is.
const maxAbout = 64 << 10

// updates are this machine's slots. manager is nil if it has none: why says why.
type updates struct {
	box     *box
	manager *update.Manager
	volume  *bootVolume
	boot    update.Boot
	cmdline string // the kernel's
	why     error
	restart chan struct{} // filled when the machine is to be restarted
}

// newUpdates finds out what runs. It touches no disk.
func newUpdates(b *box) *updates {
	u := &updates{box: b, restart: make(chan struct{}, 1)}
	cmdline, err := os.ReadFile(filepath.Join(b.o.ProcDir, "cmdline"))
	if err != nil {
		u.why = fmt.Errorf("cannot tell what was booted: %w", err)
		return u
	}
	boot, ok := update.ParseBoot(string(cmdline))
	switch {
	case startedFromISO(b.o.ProcDir):
		u.why = &api.Error{Message: "this machine was started from the ISO image, which has no room for an update", Do: "write the new one in its place; or go over to the image for sticks"}
		return u
	case !ok:
		u.why = &api.Error{Message: "this machine wasn't booted from a stick with two slots", Do: "write the new image to a stick"}
		return u
	case b.stick == nil:
		u.why = &api.Error{Message: "the stick isn't here", Do: "plug it in"}
		return u
	}
	id, err := os.ReadFile(filepath.Join(b.o.ProcDir, "sys/kernel/random/boot_id"))
	if err != nil {
		u.why = fmt.Errorf("cannot tell which run of the machine this is: %w", err)
		return u
	}
	boot.ID = strings.TrimSpace(string(id))
	o := update.Options{Log: b.log, Boot: boot, Load: u.load, Save: u.save}
	if o.Running, err = about(b.o.AboutDir); err != nil {
		u.why = err
		return u
	}
	keys, err := os.ReadFile(filepath.Join(b.o.AboutDir, "update.pub"))
	if err == nil {
		o.Keys, err = update.DecodePublicKeys(keys)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		u.why = fmt.Errorf("cannot use the key for updates: %w", err)
		return u
	}
	u.boot, u.cmdline = boot, string(cmdline)
	u.volume = &bootVolume{o: b.o, disk: b.stick.disk, warn: b.log.Warn}
	o.Volume = u.volume
	u.manager = update.New(o)
	return u
}

// about reads what this version is.
func about(dir string) (r update.Release, err error) {
	data, err := os.ReadFile(filepath.Join(dir, "release.json"))
	if err == nil && len(data) > maxAbout {
		err = fmt.Errorf("it has %d bytes", len(data))
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return r, fmt.Errorf("cannot tell which version runs: %w", err)
	}
	return r, nil
}

// load and save keep the record on the stick.
func (u *updates) load() ([]byte, error) {
	data, err := readBounded(filepath.Join(u.box.o.StickDir, updateName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}

func (u *updates) save(data []byte) error {
	path := filepath.Join(u.box.o.StickDir, updateName)
	return u.box.stick.write(func() error { return replaceFile(path, data) })
}

// askRestart has the machine restarted, soon.
func (u *updates) askRestart() {
	select {
	case u.restart <- struct{}{}:
	default: // it is already
	}
}

// restarts restarts the machine when that is asked for.
func (u *updates) restarts(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-u.restart:
	}
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(answerTime):
	}
	if err := u.box.o.Reboot(); err != nil {
		u.askRestart() // once more, after a pause
		return fmt.Errorf("cannot restart the machine: %w", err)
	}
	<-ctx.Done()
	return nil
}

// bootSlack is how long a normal boot may serve first, before the stick is read
// again.
const bootSlack = 30 * time.Second

// startPeriod is after what time a trial looks at the stick again.
const startPeriod = 5 * time.Second

// run finds out what has become of the last update, and sees a trial through.
func (u *updates) run(ctx context.Context) error {
	if u.manager == nil {
		u.box.log.Info("There are no updates", "why", u.why)
		<-ctx.Done()
		return nil
	}
	u.unload() // what the daemon before this one has left
	if u.boot.Mode != update.Try {
		select {
		case <-u.box.storage.Ready():
		case <-time.After(bootSlack):
		case <-ctx.Done():
			return nil
		}
	}
	if err := u.volume.Repair(ctx); err != nil && ctx.Err() == nil {
		u.box.log.Error("The boot volume may be damaged", "error", err)
	}
	for {
		err := u.manager.Start(ctx)
		if err == nil || ctx.Err() != nil {
			break
		}
		u.box.log.Error("Cannot tell what has become of the last update", "error", err)
		if u.boot.Mode != update.Try {
			break
		}
		// A trial must be seen through. If this goes on, process 1 ends it.
		select {
		case <-ctx.Done():
		case <-time.After(startPeriod):
		}
	}
	if s := u.manager.Status(); u.boot.Mode == update.Try && s.Err == nil && ctx.Err() == nil {
		switch {
		case s.Record.Phase == update.Trying:
			return u.onTrial(ctx)
		case s.Kept:
			u.tellInit() // it was confirmed before the daemon started again
		default:
			u.box.log.Error("This version is on trial, and the stick doesn't say so; process 1 goes back, unless it was confirmed before")
		}
	}
	<-ctx.Done()
	return nil
}

func (b *box) updateActions() []api.Action {
	return []api.Action{
		api.Update.Handle(b.update), api.UpdateURL.Handle(b.updateURL), api.RollbackUpdate.Handle(b.rollbackUpdate), api.DismissUpdate.Handle(b.dismissUpdate),
	}
}

func (b *box) update(ctx context.Context, q api.UpdateRequest, body io.Reader, progress func(api.Progress)) (a api.UpdateAnswer, err error) {
	return b.updates.change(ctx, q, progress, func(m *update.Manager, w update.Wanted, tell func(string, int64, int64)) (update.Manifest, error) {
		return m.Install(ctx, body, w, tell)
	})
}

func (b *box) updateURL(ctx context.Context, q api.UpdateRequest, progress func(api.Progress)) (a api.UpdateAnswer, err error) {
	w, err := transfer.OpenWeb(ctx, q.URL, transfer.WebOptions{})
	if err != nil {
		return a, fmt.Errorf("cannot update from there: %w", err)
	}
	defer w.Close()
	return b.update(ctx, q, w.Reader(), progress)
}

func (b *box) rollbackUpdate(ctx context.Context, q api.UpdateRequest, progress func(api.Progress)) (a api.UpdateAnswer, err error) {
	u := b.updates
	if m := u.manager; m != nil && m.Status().Record.Phase == update.Trying {
		if err := m.Fail("somebody has gone back (sanctl update rollback)"); err != nil {
			return a, refusal(err)
		}
		s := m.Status()
		u.askRestart()
		return api.UpdateAnswer{Version: s.Other, Slot: string(u.boot.Slot.Other()), Restarting: true}, nil
	}
	return u.change(ctx, q, progress, func(m *update.Manager, w update.Wanted, tell func(string, int64, int64)) (update.Manifest, error) {
		return m.Reuse(ctx, w, tell)
	})
}

func (b *box) dismissUpdate(_ context.Context, _ api.UpdateRequest, _ func(api.Progress)) (a api.UpdateAnswer, err error) {
	if b.updates.manager == nil {
		return a, b.updates.why
	}
	return a, refusal(b.updates.manager.Dismiss())
}

// change has get put a version into the other slot, and the machine boot it.
func (u *updates) change(ctx context.Context, q api.UpdateRequest, progress func(api.Progress),
	get func(*update.Manager, update.Wanted, func(string, int64, int64)) (update.Manifest, error)) (a api.UpdateAnswer, err error) {
	if u.manager == nil {
		return a, u.why
	}
	u.unload() // it may be of the slot that is written to now
	w := update.Wanted{AllowOlder: q.AllowOlder, Schema: u.box.settings().config.Schema()}
	m, err := get(u.manager, w, func(what string, done, total int64) { progress(api.Progress{What: what, Done: done, Total: total}) })
	if err != nil {
		return a, refusal(err)
	}
	a = api.UpdateAnswer{Version: m.Version, Slot: string(u.boot.Slot.Other()), Restarting: !q.Later}
	s, err := u.box.snapshot(ctx)
	if err != nil {
		return a, err
	}
	before, err := json.Marshal(takeBaseline(s, u.box.settings().sum))
	if err != nil {
		return a, fmt.Errorf("cannot keep how the appliance is now: %w", err)
	}
	if err := u.manager.Arm(ctx, before); err != nil {
		return a, refusal(err)
	}
	if q.Later {
		return a, nil
	}
	if !q.Firmware {
		progress(api.Progress{What: "loading version " + a.Version})
		if err := u.manager.Direct(ctx, u.box.o.Kexec, u.cmdline); err != nil {
			a.Why = err.Error()
			u.box.log.Warn("The machine is restarted by its firmware", "why", err)
		}
		a.Direct = a.Why == ""
	}
	u.box.log.Info("Restarting with another version", "version", a.Version, "slot", a.Slot, "by the firmware", !a.Direct)
	u.askRestart()
	return a, nil
}

// unload has the next restart go by the firmware, unless something is loaded again.
func (u *updates) unload() {
	if err := u.box.o.Kexec.Unload(); err != nil {
		u.box.log.Debug("Cannot tell the kernel to start no other one", "error", err) // it knows nothing of that, or may not
	}
}

// refusal gives the API's form to what package update refuses.
func refusal(err error) error {
	var r *update.Refusal
	if errors.As(err, &r) {
		return &api.Error{Message: r.What, Do: r.Do}
	}
	return err
}

// status tells about slots and the newest update.
func (u *updates) status() (s status.System, problems []status.Problem) {
	if u == nil || u.manager == nil {
		return s, nil
	}
	now := u.manager.Status()
	s = status.System{Slot: string(now.Boot.Slot), Mode: string(now.Boot.Mode), Other: now.Other}
	r := now.Record
	if r.Phase != update.None {
		s.Update = &status.Update{Phase: string(r.Phase), Slot: string(r.Slot), Version: r.Version, From: r.From, Reason: r.Reason, Began: r.Began, Ended: r.Ended}
	}
	problem := func(what, do string) {
		problems = append(problems, status.Problem{Health: status.Degraded, What: what, Do: do})
	}
	if now.Err != nil {
		problem("the stick's boot volume can't be used: "+now.Err.Error(), "there are no updates meanwhile; if it stays, write the image to another stick")
	}
	switch {
	case r.Phase == update.FellBack:
		problem(fmt.Sprintf("the update to version %s failed, version %s runs again: %s", r.Version, u.box.o.Version, r.Reason),
			"update to a version that works; or sanctl update dismiss")
	case r.Phase == update.Interrupted:
		problem(fmt.Sprintf("the update to version %s failed before it was tried: %s", r.Version, r.Reason), "run it again; or sanctl update dismiss")
	}
	if now.Passed {
		problem(fmt.Sprintf("slot %s runs because slot %s couldn't be loaded", now.Boot.Slot, now.Boot.Slot.Other()),
			"sanctl update writes that slot again; sanctl update rollback reads it, and tries it if it is whole")
	}
	return s, problems
}
