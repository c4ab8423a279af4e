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
	c.queue = append(c.queue, event{at: max(t, c.now), seq: c.seq, do: do})
	for i := len(c.queue) - 1; i > 0; {
		up := (i - 1) / 2
		if !c.queue[i].before(c.queue[up]) {
			break
		}
		c.queue[i], c.queue[up] = c.queue[up], c.queue[i]
		i = up
	}
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
	first, last := c.queue[0], len(c.queue)-1
	c.queue[0], c.queue[last] = c.queue[last], event{}
	c.queue = c.queue[:last]
	for i := 0; ; {
		least := i
		for child := 2*i + 1; child <= 2*i+2 && child < last; child++ {
			if c.queue[child].before(c.queue[least]) {
				least = child
			}
		}
		if least == i {
			return first
		}
		c.queue[i], c.queue[least] = c.queue[least], c.queue[i]
		i = least
	}
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
