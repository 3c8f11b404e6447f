# The writes and reads of the resque gem (2.7) that other programs see, in plain Ruby over a socket: how RhoConnect
# queues a job, and how resque-web reads what a worker says. No part of the gateway: its judge.
require 'json'
require 'socket'
require 'time'

class Redis
  def initialize(path)
    @socket = UNIXSocket.new(path)
  end

  def call(*words)
    @socket.write("*#{words.size}\r\n" + words.map { |word| "$#{word.to_s.bytesize}\r\n#{word}\r\n" }.join)
    reply
  end

  private

  def reply
    line = @socket.gets.chomp
    case line[0]
    when '+' then line[1..]
    when '-' then raise line[1..]
    when ':' then line[1..].to_i
    when '$' then line == '$-1' ? nil : @socket.read(line[1..].to_i + 2)[0..-3].force_encoding('UTF-8')
    when '*' then Array.new([line[1..].to_i, 0].max) { reply }
    end
  end
end

REDIS = Redis.new(ARGV[0])

def enqueue(queue, klass, params)
  REDIS.call('SADD', 'resque:queues', queue)
  REDIS.call('RPUSH', "resque:queue:#{queue}", { 'class' => klass, 'args' => [params] }.to_json)
end

# What resque-web's pages need: ids with three parts, times that parse, backtraces that are lists.
def overview
  workers = REDIS.call('SMEMBERS', 'resque:workers').map do |id|
    host, pid, queues = id.split(':')
    raise "odd worker #{id}" unless host && pid =~ /\A\d+\z/ && queues
    state = REDIS.call('GET', "resque:worker:#{id}")
    busy = state && JSON.parse(state)
    Time.parse(busy['run_at']) if busy
    {
      host: host, pid: pid, queues: queues.split(','),
      started: Time.parse(REDIS.call('GET', "resque:worker:#{id}:started")).to_i,
      heartbeat: Time.parse(REDIS.call('HGET', 'resque:workers:heartbeat', id)).to_i,
      working: busy ? busy['payload']['class'] : nil,
      processed: REDIS.call('GET', "resque:stat:processed:#{id}").to_i,
      failed: REDIS.call('GET', "resque:stat:failed:#{id}").to_i
    }
  end
  failures = REDIS.call('LRANGE', 'resque:failed', 0, -1).map do |text|
    job = JSON.parse(text)
    raise 'no backtrace' unless job['backtrace'].is_a?(Array)
    raise "odd worker #{job['worker']}" unless job['worker'].split(':').size == 3
    {
      failed_at: Time.parse(job['failed_at']).to_i, class: job['payload']['class'], args: job['payload']['args'],
      exception: job['exception'], error: job['error'], queue: job['queue']
    }
  end
  {
    workers: workers, failures: failures,
    processed: REDIS.call('GET', 'resque:stat:processed').to_i, failed: REDIS.call('GET', 'resque:stat:failed').to_i,
    pending: REDIS.call('SMEMBERS', 'resque:queues').map { |name| [name, REDIS.call('LLEN', "resque:queue:#{name}")] }.to_h
  }
end

if __FILE__ == $PROGRAM_NAME
  case ARGV[1]
  when 'enqueue' # a line of standard input: queue, class, parameters
    $stdin.each_line { |line| enqueue(*JSON.parse(line)) }
  when 'overview' then puts overview.to_json
  end
end
