package pool

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sanstick/appliance/disk/lvm"
)

func (w *world) dmStatus() string {
	var b strings.Builder
	for _, g := range w.groups {
		for _, v := range g.Logical {
			name := lvm.DeviceName(g.Name, v.Name)
			if !w.active[name] {
				continue
			}
			sectors := v.Size / 512
			switch v.Type {
			case "thin-pool":
				taken := sectors / 256
				if used, ok := w.used[g.Name]; ok {
					taken = used / 65536
				}
				fmt.Fprintf(&b, "%s-tpool: 0 %d thin-pool 1 10/2048 %d/%d - rw discard_passdown queue_if_no_space - 512 \n", name, sectors, taken, sectors/128)
			case "thin":
				mapped := 8
				if w.empty[name] {
					mapped = 0
				}
				fmt.Fprintf(&b, "%s: 0 %d thin %d 7\n", name, sectors, mapped)
			case "raid1":
				legs := letters(w.legsOf(g.Name, v.Name))
				action := "idle"
				if strings.Contains(legs, "a") {
					action = "recover"
				}
				if w.compare {
					action = "check"
				}
				fmt.Fprintf(&b, "%s: 0 %d raid raid1 %d %s %d/%d %s %d 0 -\n", name, sectors, len(legs), legs, sectors, sectors, action, w.differ)
			default:
				fmt.Fprintf(&b, "%s: 0 %d %s \n", name, sectors, v.Type)
			}
		}
	}
	return b.String()
}

// allocated is how many extents of a disk are used.
func (w *world) allocated(g *lvm.Group, uuid string) (n int64) {
	for _, v := range g.Logical {
		for _, l := range w.legsOf(g.Name, v.Name) {
			if l.pv == uuid {
				n += v.Size/g.ExtentSize + 1
			}
		}
	}
	if len(w.legs) == 0 && len(g.Logical) > 0 {
		return allocated(g) // linear volumes
	}
	return n
}

// allocated is how many extents of each of a group's disks are in use.
func allocated(g *lvm.Group) (n int64) {
	for _, v := range g.Logical {
		switch v.Type {
		case "raid1":
			n += v.Size/g.ExtentSize + 1
		case "linear":
			n += v.Size / g.ExtentSize / int64(len(g.Physical))
		}
	}
	return n
}

func (w *world) report() []byte {
	type row = map[string]string
	var reports []any
	var used []string
	for _, g := range w.groups {
		var pvs, lvs, segs []row
		missing := 0
		for _, pv := range g.Physical {
			r := row{"pv_name": pv.Path, "pv_uuid": pv.UUID, "vg_name": g.Name, "pv_size": "264241152", "pv_missing": "", "pv_duplicate": "", "pv_pe_count": "63", "pv_pe_alloc_count": strconv.FormatInt(w.allocated(g, pv.UUID), 10), "pv_ba_start": strconv.FormatInt(pv.AreaStart, 10), "pv_ba_size": strconv.FormatInt(pv.AreaSize, 10)}
			used = append(used, pv.Path)
			if !w.here(pv.Path) {
				r["pv_name"] = "[unknown]"
			}
			if !w.here(pv.Path) || pv.Missing {
				r["pv_missing"] = "missing"
				missing++
			}
			pvs = append(pvs, r)
		}
		add := func(v lvm.LogicalVolume, partial bool, devices ...string) {
			name, activeWord, health := v.Name, "", "-"
			if v.Hidden {
				name = "[" + name + "]"
			}
			if w.active[lvm.DeviceName(g.Name, v.Name)] {
				activeWord = "active"
			}
			if partial {
				health = "p"
			}
			if v.UUID == "" {
				v.UUID = v.Name
			}
			lvs = append(lvs, row{"lv_name": name, "lv_uuid": v.UUID, "lv_size": strconv.FormatInt(v.Size, 10), "lv_attr": "--------" + health + "-", "lv_tags": strings.Join(v.Tags, ","), "pool_lv": v.Pool, "lv_active": activeWord})
			segs = append(segs, row{"lv_uuid": v.UUID, "segtype": v.Type, "devices": strings.Join(devices, ",")})
		}
		for _, v := range g.Logical {
			var legs []string
			if v.Type == "raid1" {
				for i, l := range w.legsOf(g.Name, v.Name) {
					path := w.pathOf(g, l.pv)
					for _, part := range []string{"_rimage_", "_rmeta_"} {
						leg := lvm.LogicalVolume{Name: v.Name + part + strconv.Itoa(i), Hidden: true, Type: "linear", Size: v.Size}
						if part == "_rimage_" {
							legs = append(legs, leg.Name+"(0)")
						}
						switch {
						case l.pv == "":
							leg.Type = "error"
							add(leg, false)
						case !w.here(path):
							add(leg, true, "[unknown](1)")
						case flagged(g, l.pv):
							add(leg, true, path+"(1)")
						default:
							add(leg, false, path+"(1)")
						}
					}
				}
			}
			add(v, missing > 0, legs...)
		}
		vg := row{"vg_name": g.Name, "vg_uuid": g.UUID, "vg_systemid": g.SystemID, "vg_tags": strings.Join(g.Tags, ","), "vg_extent_size": "4194304", "vg_size": "1", "vg_free": "1", "vg_missing_pv_count": strconv.Itoa(missing)}
		reports = append(reports, map[string]any{"vg": []row{vg}, "pv": pvs, "lv": lvs, "seg": segs})
	}
	var unused []row
	for path, d := range w.disks {
		if b := d.blocks[0]; w.here(path) && b != nil && string(b[512:520]) == "LABELONE" && !slices.Contains(used, path) {
			unused = append(unused, row{"pv_name": path, "pv_uuid": "orphan" + path, "vg_name": "", "pv_size": "1", "pv_pe_count": "0", "pv_pe_alloc_count": "0"})
		}
	}
	if unused != nil {
		reports = append(reports, map[string]any{"pv": unused})
	}
	b, err := json.Marshal(map[string]any{"report": reports})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}
