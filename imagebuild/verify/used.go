package verify

import (
	"os"
	"path"
	"slices"
	"strings"

	"sanstick/appliance/config"
	"sanstick/appliance/update"
	"sanstick/imagebuild/esp"
	"sanstick/imagebuild/sbom"
	"sanstick/imagebuild/stick"
)

// slotOf is the slot that a file of the boot volume belongs to, empty for none.
func slotOf(name string) update.Slot {
	switch s := update.Slot(path.Dir(name)); s {
	case update.SlotA, update.SlotB:
		return s
	}
	return ""
}

// slots checks the slots and what GRUB is told about them. A slot is as the image had it, or what describes it says what
// an update brought; one that isn't bootable may be unfinished. The active one has to be bootable.
func (r *Report) slots(v volume, want []sbom.File) {
	bootable := make(map[update.Slot]bool)
	for _, s := range []update.Slot{update.SlotA, update.SlotB} {
		bootable[s] = r.slot(v, s, want)
	}
	block, ok := v[esp.Environment]
	if !ok {
		r.wrong(esp.Environment, "is missing")
		return
	}
	env, err := update.DecodeEnv(block)
	if err != nil {
		r.wrong(esp.Environment, "can't be read: %v", err)
		return
	}
	if env.Active == "" {
		env.Active = update.SlotA // as GRUB does
	}
	if !bootable[env.Active] {
		r.wrong(string(env.Active)+"/"+update.KernelName, "can't be started, and slot %s is the active one", env.Active)
	}
	text := ""
	if env.Armed() {
		text = ", and the next start tries slot " + string(env.Next)
	}
	r.note("%s: slot %s is active%s", esp.Environment, env.Active, text)
}

// slot checks one slot, and tells whether GRUB starts what is in it.
func (r *Report) slot(v volume, s update.Slot, want []sbom.File) bool {
	built := make(map[string]string)
	for _, w := range want {
		if slotOf(w.Name) == s {
			built[w.Name] = w.SHA256
		}
	}
	var here []string
	same := true
	for name, data := range v {
		if slotOf(name) == s {
			here = append(here, name)
			same = same && built[name] == sbom.HashOf(data)
		}
	}
	slices.Sort(here)
	name := func(file string) string { return string(s) + "/" + file }
	_, kernel := v[name(update.KernelName)]
	switch {
	case same && len(here) == len(built):
		r.Good += len(here)
		return kernel
	case !kernel:
		// GRUB doesn't start it; the next update empties it.
		for _, n := range here {
			if base := path.Base(n); base != update.InitramfsName && base != update.ManifestName && !update.Unfinished(base) {
				r.wrong(n, "doesn't belong into a slot")
			}
		}
		r.note("slot %s: holds nothing that is started (%s)", s, contents(here))
		return false
	}
	return r.described(v, s, here)
}

func contents(names []string) string {
	if len(names) == 0 {
		return "it is empty"
	}
	return "an update that didn't come to its end: " + strings.Join(names, ", ")
}

// described holds the files of a slot to its own description. Every file of it that differs is told.
func (r *Report) described(v volume, s update.Slot, here []string) bool {
	name := func(file string) string { return string(s) + "/" + file }
	m, err := update.DecodeManifest(v[name(update.ManifestName)])
	if err != nil {
		r.wrong(name(update.ManifestName), "isn't as the manifest says, and doesn't describe an update: %v", err)
		return true
	}
	bad := len(r.Wrong)
	named := map[string]bool{name(update.ManifestName): true}
	for _, f := range m.Files {
		n := name(f.Name)
		named[n] = true
		data, ok := v[n]
		switch {
		case !ok:
			r.wrong(n, "is missing")
		case int64(len(data)) != f.Size:
			r.wrong(n, "has %d bytes, %s says %d", len(data), name(update.ManifestName), f.Size)
		case sbom.HashOf(data) != f.SHA256:
			r.wrong(n, "has SHA-256 %s, %s says %s", sbom.HashOf(data), name(update.ManifestName), f.SHA256)
		default:
			r.Good++
		}
	}
	for _, n := range here {
		if !named[n] {
			r.wrong(n, "isn't named by %s", name(update.ManifestName))
		}
	}
	if len(r.Wrong) == bad {
		r.Good++ // the description, by which the others are what they should be
		r.note("slot %s: isn't what the image had, but as %s describes it: version %s of %s", s, name(update.ManifestName),
			m.Version, m.Time.UTC().Format("2006-01-02 15:04"))
	}
	return true
}

// config says how the configuration is. A person may have changed it.
func (r *Report) config(f *os.File) {
	files, was, err := stick.ConfigFiles(f)
	if err != nil {
		r.wrong(stick.ConfigLabel, "can't be read: %v", err)
		return
	}
	if !was { // the ISO image on a CD
		r.note("there is no volume %s", stick.ConfigLabel)
		return
	}
	text, ok := byName(files)[stick.ConfigFile]
	if !ok {
		r.wrong(stick.ConfigFile, "is missing on the volume %s", stick.ConfigLabel)
		return
	}
	switch _, err := config.Parse(stick.ConfigFile, text); {
	case err != nil:
		r.note("%s: can be changed by anybody, and isn't in the manifest; it has errors:\n%v", stick.ConfigFile, err)
	case string(text) == string(config.Default()):
		r.note("%s: is the default one", stick.ConfigFile)
	default:
		r.note("%s: can be changed by anybody, and isn't in the manifest; it is free of errors", stick.ConfigFile)
	}
}
