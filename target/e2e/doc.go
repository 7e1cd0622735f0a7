// Package e2e has Linux use the target as its users do: Debian's kernel with
// open-iscsi, multipath-tools, sg3-utils, ext4 and xfs in a virtual machine,
// and targetd on the host. Its tests have the build tag e2e; the kernel is the
// one that the stick's image is made of (make image fetches it).
package e2e
