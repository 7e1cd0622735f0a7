// Package e2e boots the real image in QEMU and uses it as its users would:
// with foreign initiators, power cuts, missing disks and broken files. Its
// tests have the build tag e2e and need build/sanstick.img (make image).
package e2e
