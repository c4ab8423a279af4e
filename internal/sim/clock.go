package sim

import "time"

// event is something that happens at a time.
type event struct {
	at  time.Duration
	seq uint64 // orders events of one time as they were scheduled
	do  func()
}

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

// clock is simulated time: a heap of events. Its zero value stands at 0.
type clock struct {
	now   time.Duration
	seq   uint64
	queue []event
}

// at schedules do. A time that has passed means now.
func (c *clock) at(t time.Duration, do func()) {
	c.seq++
	e := event{at: max(t, c.now), seq: c.seq, do: do}
	c.queue = append(c.queue, e)
	i := len(c.queue) - 1
	for i > 0 {
		up := (i - 1) / 2
		if !e.before(c.queue[up]) {
			break
		}
		c.queue[i], i = c.queue[up], up
	}
	c.queue[i] = e
}

// run lets everything happen, in order.
func (c *clock) run() {
	for len(c.queue) > 0 {
		e := c.pop()
		c.now = e.at
		e.do()
	}
}

func (c *clock) pop() event {
	first, n := c.queue[0], len(c.queue)-1
	e := c.queue[n]
	c.queue[n] = event{}
	if c.queue = c.queue[:n]; n == 0 {
		return first
	}
	i := 0
	for {
		least := 2*i + 1
		if least >= n {
			break
		}
		if right := least + 1; right < n && c.queue[right].before(c.queue[least]) {
			least = right
		}
		if !c.queue[least].before(e) {
			break
		}
		c.queue[i], i = c.queue[least], least
	}
	c.queue[i] = e
	return first
}

// machine is what computes: cores that take work in the order in which it comes.
type machine struct {
	free []time.Duration // when each core is free
	used time.Duration   // processor time
}

func newMachine(cores int) *machine { return &machine{free: make([]time.Duration, cores)} }

// work returns when work that comes now is done.
func (m *machine) work(now, cost time.Duration) time.Duration {
	first := 0
	for i, t := range m.free {
		if t < m.free[first] {
			first = i
		}
	}
	done := max(now, m.free[first]) + cost
	m.free[first] = done
	m.used += cost
	return done
}
