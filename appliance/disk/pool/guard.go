package pool

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// The usage levels, in per cent of what a pool has and can still grow into, at
// which initiators are told, and a person with them.
var spaceLevels = []int64{80, 90, 95}

const (
	growAt   = 80              // per cent of what the thin pool has now, at which it is grown
	rearm    = 3               // points below a level at which it counts again
	slowPoll = 2 * time.Second // with nothing to fear
	fastPoll = 250 * time.Millisecond
	nearPoll = time.Second // at most, above nearFull per cent
	nearFull = 75
	// assumedRate is how fast a pool that was quiet may begin to usage, in bytes a
	// second.
	assumedRate = 512 << 20
)

// usage is how full something is, in bytes.
type usage struct{ used, total int64 }

func (f usage) free() int64 { return max(f.total-f.used, 0) }

// percent is what is used of what there is and room more.
func (f usage) percent(room int64) int64 {
	if f.total+room <= 0 {
		return 0
	}
	return int64(float64(f.used) / float64(f.total+room) * 100)
}

// spaceFacts are what the guard sees of a pool at a moment.
type spaceFacts struct {
	at         time.Time
	data, meta usage
	// Bytes by which each can still be grown; 0 if it can't be now.
	room, metaRoom int64
	full           bool  // the kernel says that it is, whatever the numbers are
	broken         bool  // its metadata can't be written, nor grown, before a repair
	worst          int64 // what it comes to if every volume is written wholly
	volumes        []guarded
}

// enough tells whether the data can't run out of space, whatever is written.
func (f spaceFacts) enough() bool { return f.worst <= f.data.total }

// dataLevel is how full the data is, in per cent; 0 if that doesn't matter.
func (f spaceFacts) dataLevel() int64 {
	if f.enough() {
		return 0
	}
	return f.data.percent(f.room)
}

// guarded is a volume that can be written to.
type guarded struct {
	name     string
	priority int   // the lowest is refused first
	used     int64 // bytes
}

// spaceActions are what is to be done.
type spaceActions struct {
	growData, growMeta int64    // bytes; 0: not
	tell               bool     // initiators, that space is low
	low                bool     // it is, whether or not that was told
	refuse             []string // the volumes whose writes are refused, all of them
	next               time.Duration
}

// guardState is what the guard knows of a pool from one look to the next.
type guardState struct {
	level   int      // how many of spaceLevels have been told
	refused []string // the last one is the first to be let go
	told    []string // the volumes whose users know that space is low

	last              spaceFacts // the look before; zero at first
	since             time.Time  // of the first look
	dataPeak, metaMax float64    // bytes a second, the fastest of late
	volumes           map[string]*rate
	hour, day         rate
}

// look takes in how a pool is now and says what to do. It does nothing else.
func (s *guardState) look(f spaceFacts) spaceActions {
	s.measure(f)
	var a spaceActions
	a.tell = s.crossed(max(f.dataLevel(), f.meta.percent(f.metaRoom)))
	a.low = s.level > 0
	if p := f.data.percent(0); p >= growAt && f.room > 0 && !f.enough() {
		a.growData = min(max(f.data.used*10/7-f.data.total, f.data.total/20, int64(s.dataPeak*60)), f.room)
	}
	if more := f.worst - f.data.total; more > 0 && more <= f.room {
		// What can be kept shall not depend on growing later, when a disk may be
		// missing.
		a.growData = max(a.growData, more)
	}
	// Of disks that were added, half is taken at once; the rest is there for thick
	// volumes until it is needed.
	a.growData = max(a.growData, (f.data.total+f.room)/2-f.data.total)
	if p := f.meta.percent(0); p >= growAt && f.metaRoom > 0 && !f.broken {
		a.growMeta = min(max(f.meta.used*10/6-f.meta.total, f.meta.total/4), f.metaRoom)
	}
	s.refuse(f)
	a.refuse = slices.Clone(s.refused)
	a.next = s.nextLook(f)
	return a
}

// crossed notes the usage, in per cent, and tells whether it has reached a level
// that it was below.
func (s *guardState) crossed(percent int64) bool {
	level := 0
	for level < len(spaceLevels) && percent >= spaceLevels[level] {
		level++
	}
	if level > s.level {
		s.level = level
		return true
	}
	for s.level > 0 && percent < spaceLevels[s.level-1]-rearm {
		s.level--
	}
	return false
}

// measure brings the rates up to date.
func (s *guardState) measure(f spaceFacts) {
	old := s.last
	s.last = f
	if s.since.IsZero() {
		s.since, s.hour.tau, s.day.tau, s.volumes = f.at, time.Hour, 24*time.Hour, map[string]*rate{}
		return
	}
	dt := f.at.Sub(old.at)
	if dt <= 0 {
		s.last = old
		return
	}
	data := float64(f.data.used - old.data.used)
	s.hour.add(data, dt)
	s.day.add(data, dt)
	s.dataPeak = peak(s.dataPeak, data, dt)
	s.metaMax = peak(s.metaMax, float64(f.meta.used-old.meta.used), dt)
	now := map[string]*rate{}
	for _, v := range f.volumes {
		r := s.volumes[v.name]
		i := slices.IndexFunc(old.volumes, func(o guarded) bool { return o.name == v.name })
		if r == nil {
			r = &rate{tau: 30 * time.Second}
		}
		if i >= 0 {
			r.add(float64(v.used-old.volumes[i].used), dt)
		}
		now[v.name] = r
	}
	s.volumes = now
}

// peak is the fastest rate of the last minutes; it fades by half in five.
func peak(before, bytes float64, dt time.Duration) float64 {
	return max(before*math.Exp2(-dt.Minutes()/5), bytes/dt.Seconds())
}

// reserve is what must stay free of size bytes, so that it can't be used up
// before the last volume refuses writes: 1 %, at least 1 GiB, at least what two
// seconds of writing take. Of small pools these would be too much: 5 % and 10 %
// of the size are the most.
func reserve(size int64, fastest float64) int64 {
	return min(max(size/100, min(gib, size/20), int64(2*fastest)), size/10)
}

// refuse decides whose writes are refused. Volumes come in turn, the lowest
// priority first, and the fastest growing first of the same; each has a step of
// space to itself. Who was refused waits until there is some more than that.
func (s *guardState) refuse(f spaceFacts) {
	turn := slices.Clone(f.volumes)
	slices.SortFunc(turn, func(a, b guarded) int {
		return cmp.Or(a.priority-b.priority, cmp.Compare(s.speed(b.name), s.speed(a.name)), cmp.Compare(a.name, b.name))
	})
	priority := map[string]int{}
	for _, v := range turn {
		priority[v.name] = v.priority
	}
	s.refused = slices.DeleteFunc(s.refused, func(name string) bool { _, there := priority[name]; return !there })
	slices.SortStableFunc(s.refused, func(a, b string) int { return priority[a] - priority[b] })

	n := len(turn)
	least, most := 0, 0
	for _, r := range []struct {
		usage
		fastest float64
	}{{f.data, s.dataPeak}, {f.meta, s.metaMax}} {
		if r.total <= 0 || r.usage == f.data && f.enough() {
			continue
		}
		floor := reserve(r.total, r.fastest)
		step := min(floor/2, r.total/20/int64(max(n-1, 1)))
		l, m := 0, 0
		for k := range n {
			limit := floor + int64(n-1-k)*step
			if r.free() < limit {
				l++
			}
			if r.free() < limit+floor/2 {
				m++
			}
		}
		least, most = max(least, l), max(most, m)
	}
	if f.full {
		least, most = n, n
	}
	for len(s.refused) > most {
		s.refused = s.refused[:len(s.refused)-1]
	}
	for _, v := range turn {
		// None may write while one of a higher priority may not.
		lower := len(s.refused) > 0 && v.priority < priority[s.refused[len(s.refused)-1]]
		if (len(s.refused) < least || lower) && !slices.Contains(s.refused, v.name) {
			s.refused = append(s.refused, v.name)
		}
	}
	slices.SortStableFunc(s.refused, func(a, b string) int { return priority[a] - priority[b] })
}

func (s *guardState) speed(volume string) float64 {
	if r := s.volumes[volume]; r != nil {
		return r.value()
	}
	return 0
}

// nextLook is when to look again: in half the time in which the pool could get
// as full as matters.
func (s *guardState) nextLook(f spaceFacts) time.Duration {
	if f.full {
		return fastPoll
	}
	next := slowPoll
	for _, r := range []struct {
		usage
		fastest float64
	}{{f.data, max(4*s.dataPeak, assumedRate)}, {f.meta, max(4*s.metaMax, assumedRate/64)}} {
		if r.total <= 0 || r.usage == f.data && f.enough() {
			continue
		}
		if r.percent(0) >= nearFull {
			next = min(next, nearPoll)
		}
		left := float64(r.free() - 2*reserve(r.total, r.fastest/4))
		next = min(next, time.Duration(max(left, 0)/r.fastest/2*float64(time.Second)))
	}
	return max(next, fastPoll)
}

// How long a rate must have been watched before it is said, and how far ahead
// it is said.
const (
	rateAfter = 10 * time.Minute
	farAhead  = 5 * 365 * 24 * time.Hour
)

// outlook tells how fast the pool fills, in bytes a second, and when free bytes
// are used up at that rate: the faster of that of the last hour and that of the
// last day. Zero if nothing meaningful can be said.
func (s *guardState) outlook(free int64) (perSecond float64, end time.Time) {
	watched := s.last.at.Sub(s.since)
	if watched < rateAfter {
		return 0, time.Time{}
	}
	perSecond = s.hour.value()
	if watched > 2*time.Hour {
		perSecond = max(perSecond, s.day.value())
	}
	if perSecond <= 0 {
		return perSecond, time.Time{}
	}
	left := float64(free) / perSecond
	if left > farAhead.Seconds() {
		return perSecond, time.Time{}
	}
	return perSecond, s.last.at.Add(time.Duration(left * float64(time.Second)))
}

// rate is the mean of what comes in a second, in which the past fades with the
// time constant tau. It knows how little it has seen yet.
type rate struct {
	tau         time.Duration
	mean, known float64
}

func (r *rate) add(bytes float64, dt time.Duration) {
	a := 1 - math.Exp(-float64(dt)/float64(r.tau))
	r.mean += a * (bytes/dt.Seconds() - r.mean)
	r.known += a * (1 - r.known)
}

func (r *rate) value() float64 {
	if r.known <= 0 {
		return 0
	}
	return r.mean / r.known
}
