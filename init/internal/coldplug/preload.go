package coldplug

// Preload returns the modules to load at every boot, because no device asks
// for them: what lvm expects to be there (it doesn't load any itself), what
// mounting a stick needs, and what a person at the console needs. One that
// the kernel has built in, or that isn't shipped, is skipped.
func Preload() []string {
	return []string{
		// A crc32c must be there before libcrc32c, which thin pools and raid
		// use. Intel's refuses to load on a CPU without SSE 4.2.
		"crc32c_generic", "crc32c_intel", "libcrc32c",
		// Mirrors and thin pools; dm-mirror is for pvmove.
		"dm_mod", "raid1", "dm_raid", "dm_thin_pool", "dm_mirror", "dm_snapshot",
		// Disks: the layers above the controllers' drivers.
		"sd_mod", "nvme",
		// The stick's FAT partition, and Linux's way to mount files.
		"nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "vfat", "loop",
		// DHCP before there is an address.
		"af_packet",
		// Power button and keyboards.
		"button", "evdev", "hid_generic", "usbhid",
	}
}

// never returns the modules that no device may make us load.
func never() []string {
	return []string{
		// Looking for a drive that almost no machine has any more takes seconds.
		"floppy",
	}
}
