// Go's channels, for weir_bench to ask: a line "W3 u64 EVENTS" on the standard input is answered by a line of figures,
// "ns_per_event 41.5 allocs_per_event 0", or by "error" and what went wrong.
package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	defaultCapacity = 1024
	idleCapacity    = 16 // W8's
)

// u64 and p64: arrays, so that one generic function is compiled for each without a call through a dictionary.
type payload interface{ [1]uint64 | [8]uint64 }

func number[T payload](n uint64) (value T) {
	for k := 0; k < len(value); k++ {
		value[k] = n + uint64(k)
	}
	return
}

func digest[T payload](value T) (sum uint64) {
	for k := 0; k < len(value); k++ {
		sum += value[k]
	}
	return
}

// What the digests of the numbers below `events` add up to.
func expected[T payload](events uint64) uint64 {
	var value T
	words := uint64(len(value))
	return words*(events*(events-1)/2) + words*(words-1)/2*events
}

func allocations() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.Mallocs
}

func check(want, got uint64) string {
	if want == got {
		return ""
	}
	return fmt.Sprintf("error what came out is not what went in: expected %d, got %d", want, got)
}

// Runs `job`, which gives the sum of the digests that it received.
func measure[T payload](threads int, events uint64, job func() uint64) string {
	runtime.GOMAXPROCS(threads)
	allocated := allocations()
	start := time.Now()
	sum := job()
	elapsed := time.Since(start)
	allocated = allocations() - allocated
	if wrong := check(expected[T](events), sum); wrong != "" {
		return wrong
	}
	return fmt.Sprintf("ns_per_event %g allocs_per_event %g",
		float64(elapsed.Nanoseconds())/float64(events), float64(allocated)/float64(events))
}

func stream[T payload](events uint64, capacity, senders, receivers int) uint64 {
	values := make(chan T, capacity)
	sums := make(chan uint64, receivers)
	var sending sync.WaitGroup
	sending.Add(senders)
	share := events / uint64(senders)
	for s := 0; s < senders; s++ {
		first := share * uint64(s)
		go func() {
			for i := first; i < first+share; i++ {
				values <- number[T](i)
			}
			sending.Done()
		}()
	}
	for r := 0; r < receivers; r++ {
		go func() {
			var sum uint64
			for value := range values {
				sum += digest(value)
			}
			sums <- sum
		}()
	}
	sending.Wait()
	close(values)
	var total uint64
	for r := 0; r < receivers; r++ {
		total += <-sums
	}
	return total
}

func requests[T payload](events uint64) uint64 {
	requests := make(chan T, 1)
	replies := make(chan T, 1)
	go func() {
		for request := range requests {
			replies <- request
		}
	}()
	done := make(chan uint64)
	go func() {
		var sum uint64
		for i := uint64(0); i < events; i++ {
			requests <- number[T](i)
			sum += digest(<-replies)
		}
		done <- sum
	}()
	sum := <-done
	close(requests)
	return sum
}

func memory() (heap, resident float64) {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	var total, pages uint64
	if statm, err := os.ReadFile("/proc/self/statm"); err == nil {
		fmt.Sscan(string(statm), &total, &pages)
	}
	return float64(stats.HeapAlloc + stats.StackInuse), float64(pages) * float64(os.Getpagesize())
}

func idle[T payload](count uint64) string {
	runtime.GOMAXPROCS(2)
	channels := make([]chan T, count)
	for i := range channels {
		channels[i] = nil // its pages are there before they are counted
	}
	var sum atomic.Uint64
	var waiting, received sync.WaitGroup
	waiting.Add(int(count))
	received.Add(int(count))

	heap, resident := memory()
	for i := range channels {
		channel := make(chan T, idleCapacity)
		channels[i] = channel
		go func() {
			waiting.Done()
			sum.Add(digest(<-channel))
			received.Done()
		}()
	}
	waiting.Wait()
	heapAfter, residentAfter := memory()

	allocated := allocations()
	start := time.Now()
	for i, channel := range channels {
		channel <- number[T](uint64(i))
	}
	received.Wait()
	elapsed := time.Since(start)
	allocated = allocations() - allocated
	if wrong := check(expected[T](count), sum.Load()); wrong != "" {
		return wrong
	}
	each := 1 / float64(count)
	return fmt.Sprintf("bytes %g resident_bytes %g ns_per_value %g allocs_per_event %g", (heapAfter-heap)*each,
		(residentAfter-resident)*each, float64(elapsed.Nanoseconds())*each, float64(allocated)*each)
}

func answer[T payload](workload string, events uint64) string {
	run := func(threads, capacity, senders, receivers int) string {
		return measure[T](threads, events, func() uint64 { return stream[T](events, capacity, senders, receivers) })
	}
	ask := func(threads int) string {
		return measure[T](threads, events, func() uint64 { return requests[T](events) })
	}
	switch workload {
	case "W1":
		return run(1, defaultCapacity, 1, 1)
	case "W2":
		return run(2, defaultCapacity, 1, 1)
	case "W3":
		return run(2, defaultCapacity, 4, 1)
	case "W4":
		return run(2, defaultCapacity, 4, 4)
	case "W5.local":
		return run(1, 1, 1, 1)
	case "W5.shared":
		return run(2, 1, 1, 1)
	case "W5.local_request":
		return ask(1)
	case "W5.shared_request":
		return ask(2)
	case "W8":
		return idle[T](events)
	}
	return "error there is no workload " + workload
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var workload, payload string
		var events uint64
		reply := "error not understood: " + lines.Text()
		if n, _ := fmt.Sscan(strings.TrimSpace(lines.Text()), &workload, &payload, &events); n == 3 && events > 0 {
			switch payload {
			case "u64":
				reply = answer[[1]uint64](workload, events)
			case "p64":
				reply = answer[[8]uint64](workload, events)
			}
		}
		fmt.Println(reply)
	}
}
