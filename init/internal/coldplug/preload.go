package coldplug

// needed returns the modules that no device asks for and that must be there
// before the daemon works: what lvm expects (it doesn't load any itself) and
// what mounting the stick needs. One that the kernel has built in, or that
// isn't shipped, is skipped.
func needed() []string {
	return []string{
		// A crc32c must be there before libcrc32c, which thin pools and raid
		// use. The faster ones come by themselves on a CPU that has them.
		"crc32c_generic", "libcrc32c",
		// Mirrors and thin pools.
		"dm_mod", "raid1", "raid10", "raid456", "dm_raid", "dm_thin_pool",
		// The stick's FAT partition: Debian's default character sets.
		"nls_cp437", "nls_ascii", "vfat",
		// DHCP before there is an address.
		"af_packet",
		// The power button, which appears with its driver.
		"evdev", "button",
	}
}

// later returns the modules that are wanted, but that nothing waits for.
func later() []string {
	return []string{
		// pvmove, and LVM's old snapshots.
		"dm_mirror", "dm_snapshot",
		// Keyboards ask for the first one only.
		"usbhid", "hid_generic",
		// For a person at the console.
		"loop", "nls_iso8859_1", "nls_utf8", "sd_mod",
		// SATA disks tell their temperature.
		"drivetemp",
	}
}

// never returns the modules that no device may make us load.
func never() []string {
	return []string{
		// Looking for a drive that almost no machine has any more takes seconds.
		"floppy",
	}
}
