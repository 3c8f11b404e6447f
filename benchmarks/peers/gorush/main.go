// The peer gorush, driven through its public API: its own HTTP server, local queue and APNs client, with the
// provider of the benchmark in Apple's place.
//
// It speaks as the load tool's other roles do: the first line of standard input is an order in JSON and is answered
// by one line {"result": PORT}; it ends with the end of its input.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"github.com/appleboy/gorush/config"
	"github.com/appleboy/gorush/logx"
	"github.com/appleboy/gorush/notify"
	"github.com/appleboy/gorush/router"
	"github.com/appleboy/gorush/status"
	"github.com/golang-queue/queue"
	"github.com/sideshow/apns2"
)

type facts struct {
	CAFile  string `json:"ca_file"`
	KeyFile string `json:"key_file"`
	KeyID   string `json:"key_id"`
	TeamID  string `json:"team_id"`
	Port    int    `json:"apns_port"`
}

type order struct {
	Facts facts `json:"facts"`
	// QueueSize: gorush refuses what its queue in memory cannot hold; here it is never to be full.
	QueueSize int64 `json:"queue_size"`
	// InFlight: its workers, each with one notification under way.
	InFlight int `json:"in_flight"`
}

// redirect lets Apple's host be the simulator on this machine.
func redirect(f facts) error {
	authority, err := os.ReadFile(f.CAFile)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(authority) {
		return fmt.Errorf("no certificate in %s", f.CAFile)
	}
	apns2.DialTLS = func(network, _ string, cfg *tls.Config) (net.Conn, error) {
		local := cfg.Clone()
		local.RootCAs = roots
		local.ServerName = "127.0.0.1"
		return tls.Dial(network, fmt.Sprintf("127.0.0.1:%d", f.Port), local)
	}
	return nil
}

func configure(o order, port int) (*config.ConfYaml, error) {
	cfg, err := config.LoadConf()
	if err != nil {
		return nil, err
	}
	cfg.Core.Address = "127.0.0.1"
	cfg.Core.Port = fmt.Sprint(port)
	cfg.Core.QueueNum = o.QueueSize
	cfg.Android.Enabled = false
	cfg.Ios.Enabled = true
	cfg.Ios.KeyType = "p8"
	cfg.Ios.KeyPath = o.Facts.KeyFile
	cfg.Ios.KeyID = o.Facts.KeyID
	cfg.Ios.TeamID = o.Facts.TeamID
	cfg.Ios.Production = true
	cfg.Ios.MaxConcurrentPushes = uint(o.InFlight)
	cfg.Log.AccessLog = os.DevNull
	cfg.Log.AccessLevel = "error"
	return cfg, nil
}

func serve(o order, port int) error {
	cfg, err := configure(o, port)
	if err != nil {
		return err
	}
	notify.MaxConcurrentIOSPushes = make(chan struct{}, cfg.Ios.MaxConcurrentPushes)
	err = logx.InitLog(cfg.Log.AccessLevel, cfg.Log.AccessLog, cfg.Log.ErrorLevel, cfg.Log.ErrorLog)
	if err != nil {
		return err
	}
	if err := status.InitAppStatus(cfg); err != nil {
		return err
	}
	worker := queue.NewConsumer(
		queue.WithQueueSize(int(cfg.Core.QueueNum)),
		queue.WithFn(notify.Run(cfg)),
		queue.WithLogger(logx.QueueLogger()),
	)
	pool := queue.NewPool(o.InFlight, queue.WithWorker(worker), queue.WithLogger(logx.QueueLogger()))
	if err := notify.InitAPNSClient(context.Background(), cfg); err != nil {
		return err
	}
	return router.RunHTTPServer(context.Background(), cfg, pool)
}

func freePort() (int, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port, nil
}

// ownOutput keeps standard output for our own word: gorush's server writes a line a request there, which nobody reads.
func ownOutput() (*os.File, error) {
	own, err := syscall.Dup(1)
	if err != nil {
		return nil, err
	}
	nowhere, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), "answers"), syscall.Dup3(int(nowhere.Fd()), 1, 0)
}

func run() error {
	output, err := ownOutput()
	if err != nil {
		return err
	}
	input := bufio.NewReader(os.Stdin)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return err
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return err
	}
	if err := redirect(o.Facts); err != nil {
		return err
	}
	port, err := freePort()
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	go func() { failed <- serve(o, port) }()
	for {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			conn.Close()
			break
		}
		select {
		case err := <-failed:
			return err
		default:
		}
	}
	fmt.Fprintf(output, "{\"result\": %d}\n", port)
	_, err = io.Copy(io.Discard, input)
	return err
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
