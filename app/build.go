package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// runBuild runs an app's build command in its folder and waits for it. When ctx
// ends, the command and what it started are asked to end, then made to.
func runBuild(ctx context.Context, dir, command string, stdout, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = stdout, stderr
	cmd.WaitDelay = 5 * time.Second
	ownGroup(cmd)
	err := cmd.Run()
	if ctx.Err() != nil {
		endGroup(cmd)
		return fmt.Errorf("run build command %q: %w", command, ctx.Err())
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return fmt.Errorf("the build command %q failed: %s; nothing was deployed", command, exit.ProcessState)
	}
	if err != nil {
		return fmt.Errorf("run build command %q: %w", command, err)
	}
	return nil
}
