module kipper.run/cron-differential

go 1.18

require github.com/robfig/cron/v3 v3.0.1
