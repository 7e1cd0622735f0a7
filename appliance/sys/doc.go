// Package sys holds the appliance's access to the kernel behind small
// interfaces: uevents, mounts, modules, power, SMBIOS and running programs.
// What reads bytes is pure and apart from what makes system calls, and each
// interface has a hand-written fake in systest. A leaf.
package sys
