// Package systest holds fakes of package sys's interfaces for tests.
package systest
