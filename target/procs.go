package target

import (
	"os"
	"runtime"
)

// SpareProcs gives the Go scheduler two more threads than there are cores,
// unless the environment says how many (GOMAXPROCS). A thread that waits for a
// disk's flush counts as running until the scheduler looks, which may take it
// 10 ms; meanwhile others stand still. Call it once, when a process that serves
// disks starts.
func SpareProcs() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.NumCPU() + 2)
	}
}
