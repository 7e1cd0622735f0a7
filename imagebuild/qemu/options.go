// Package qemu runs the stick image in a QEMU virtual machine: for `imagebuild run`, and for the end-to-end tests.
//
// A machine has the stick as a USB disk, data disks with serial numbers, one network card with ports forwarded from
// 127.0.0.1, and a serial console that the caller reads and types on. QEMU is controlled by QMP, so it can be powered off
// by its power button or killed like a PC that loses its power. Disks can be unplugged and plugged while it runs, and made
// to fail or to be slow.
package qemu

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// An Accel is how the guest's processor is run.
type Accel string

// The accelerators. TCG is emulation and runs everywhere.
const (
	TCG Accel = "tcg"
	KVM Accel = "kvm"
)

// A Bus is how a disk is connected.
type Bus string

// The buses. The zero value is Virtio for data disks and USB for the stick.
const (
	Virtio Bus = "virtio"
	SATA   Bus = "sata"
	SCSI   Bus = "scsi"
	NVMe   Bus = "nvme"
	USB    Bus = "usb"
)

// A Disk is a raw disk image of the host.
type Disk struct {
	Path   string
	Serial string // at most 20 bytes, as the guest sees it
	Bus    Bus
}

// StickSerial is the stick's serial number. It can be unplugged by it, unless the machine has a snapshot of it.
const StickSerial = "SANSTICK"

const stickID = "stick"

// A Forward makes a TCP port of the guest reachable at 127.0.0.1:Host.
type Forward struct {
	Host, Guest int
}

// Options describes a machine.
type Options struct {
	Stick     string    // image to boot from; it is written to unless Snapshot is set
	StickBus  Bus       // USB if empty
	Snapshot  bool      // throw away what the guest writes to the stick
	CD        string    // image in a CD drive, to boot from unless there is a stick; read-only
	Firmware  Firmware  // BIOS if empty
	Disks     []Disk    // data disks
	MemoryMiB int       // 512 if 0
	CPUs      int       // 2 if 0
	Ports     []Forward // on 127.0.0.1
	SMBIOS    []string  // OEM strings of the firmware (type 11)
	Accel     Accel     // TCG if empty
	NoReboot  bool      // a guest that reboots ends the machine
	Console   io.Writer // gets a copy of all that the guest prints on its serial console; may be nil. Must not block

	// Kernel boots this kernel without any firmware or stick, with Initrd and the command line Append.
	Kernel, Initrd, Append string
}

// args returns QEMU's arguments. qmp is the path of the control socket.
func (o Options) args(qmp string) ([]string, error) {
	accel := "tcg,thread=multi"
	switch o.Accel {
	case "", TCG:
	case KVM:
		accel = "kvm"
	default:
		return nil, fmt.Errorf("cannot use accelerator %q: want %s or %s", o.Accel, KVM, TCG)
	}
	a := []string{
		"-nodefaults", "-no-user-config", "-machine", o.machine(), "-accel", accel,
		"-m", strconv.Itoa(orInt(o.MemoryMiB, 512)), "-smp", strconv.Itoa(orInt(o.CPUs, 2)),
		"-display", "none", "-vga", "std",
		"-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
		"-qmp", "unix:" + escape(qmp) + ",server=on,wait=off",
		"-device", "virtio-rng-pci",
		"-device", "qemu-xhci,id=usb", "-device", "virtio-scsi-pci,id=scsi",
	}
	if o.Accel == KVM {
		a = append(a, "-cpu", "host")
	}
	if o.NoReboot {
		a = append(a, "-no-reboot")
	}
	if o.Kernel != "" {
		a = append(a, "-kernel", o.Kernel, "-initrd", o.Initrd, "-append", o.Append)
	}
	if o.Stick != "" {
		device, err := deviceArgs(Disk{Serial: StickSerial, Bus: orBus(o.StickBus, USB)}, stickID, 0)
		if err != nil {
			return nil, err
		}
		if o.Snapshot {
			a = append(a, "-drive", "if=none,id="+stickID+",format=raw,snapshot=on,file="+escape(o.Stick))
		} else {
			node, err := json.Marshal(blockNode(stickID, o.Stick))
			if err != nil {
				return nil, fmt.Errorf("cannot use stick %q: %w", o.Stick, err)
			}
			a = append(a, "-blockdev", string(node))
		}
		a = append(a, "-device", device+",bootindex=0,id=dev-"+stickID)
	}
	if o.CD != "" {
		a = append(a, "-drive", "if=none,id=cd,format=raw,media=cdrom,readonly=on,file="+escape(o.CD),
			"-device", "ide-cd,bus=ide.0,drive=cd,bootindex=1")
	}
	for i, d := range o.Disks {
		id := diskID(i)
		d.Bus = orBus(d.Bus, Virtio)
		device, err := deviceArgs(d, id, i+1)
		if err != nil {
			return nil, err
		}
		node, err := json.Marshal(blockNode(id, d.Path))
		if err != nil {
			return nil, fmt.Errorf("cannot use disk %q: %w", d.Path, err)
		}
		a = append(a, "-blockdev", string(node), "-device", device+",id=dev-"+id)
	}
	net := "user,id=net"
	for _, p := range o.Ports {
		net += fmt.Sprintf(",hostfwd=tcp:127.0.0.1:%d-:%d", p.Host, p.Guest)
	}
	// Without an option ROM: the machine never boots from its network.
	a = append(a, "-netdev", net, "-device", "virtio-net-pci,netdev=net,romfile=")
	if len(o.SMBIOS) > 0 {
		s := "type=11"
		for _, v := range o.SMBIOS {
			s += ",value=" + escape(v)
		}
		a = append(a, "-smbios", s)
	}
	return a, nil
}

// machine is the -machine value.
func (o Options) machine() string {
	if o.Firmware == UEFI || o.Firmware == SecureBoot {
		return "q35,smm=on"
	}
	return "q35"
}

// deviceArgs is the -device value for a disk. port is its SATA port.
func deviceArgs(d Disk, id string, port int) (string, error) {
	if len(d.Serial) > 20 || strings.ContainsAny(d.Serial, ", ") {
		return "", fmt.Errorf("cannot use disk serial %q: at most 20 bytes, no comma, no space", d.Serial)
	}
	var device string
	switch d.Bus {
	case Virtio:
		device = "virtio-blk-pci,drive=" + id
	case SATA:
		device = fmt.Sprintf("ide-hd,bus=ide.%d,drive=%s", port, id)
	case SCSI:
		device = "scsi-hd,bus=scsi.0,drive=" + id
	case NVMe:
		device = "nvme,drive=" + id
	case USB:
		device = "usb-storage,bus=usb.0,drive=" + id
	default:
		return "", fmt.Errorf("cannot connect disk %q: there is no bus %q", d.Serial, d.Bus)
	}
	if d.Serial != "" {
		device += ",serial=" + d.Serial
	}
	return device, nil
}

// escape doubles commas, which separate QEMU's suboptions.
func escape(s string) string { return strings.ReplaceAll(s, ",", ",,") }

func orInt(v, otherwise int) int {
	if v == 0 {
		return otherwise
	}
	return v
}

func orBus(v, otherwise Bus) Bus {
	if v == "" {
		return otherwise
	}
	return v
}
